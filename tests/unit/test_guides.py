"""What the guides' pages are held to, and that it can be broken."""

import re
from pathlib import Path

import pytest

from freehold.contracts.currency import MINOR_UNIT_EXPONENTS
from support import guides
from support.guides import GUIDES, followed, steps_of

# Runs in any shell, without servers.
PAGE = """
Saved and used:

```python
# greeting.py
print("hello, 42")
```

```sh
name=world
python greeting.py
echo "id-$name-17"
```

```text
hello, 42
id-world-…
```

<!-- not run: it would never end -->
```sh
sleep infinity
```

```python
print('{"seq": 7, "event_id": "0198", "data": [null]}')
```

```json
{"data": [null], "event_id": "…", "seq": 7}
```
"""


async def test_a_page_that_tells_the_truth_passes(tmp_path: Path) -> None:
    async with followed(PAGE, tmp_path, {}) as left_out:
        assert not left_out


async def test_without_node_its_blocks_are_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guides, "NODE", None)
    page = "```js\nthrow 1\n```\n```text\nnothing\n```\n```sh\nnode missing.mjs\n```\n"
    async with followed(page, tmp_path, {}) as left_out:
        assert [step.line for step in left_out] == [1, 7]


@pytest.mark.parametrize(
    ("shown", "instead", "message"),
    [
        ("hello, 42\nid", "hello, 43\nid", "'hello, 43' is shown, and 'hello, 42' was printed"),
        ("hello, 42\nid-world-…", "hello, 42", "'' is shown, and 'id-world-17' was printed"),
        ('"seq": 7}', '"seq": 8}', "/seq: 8 is shown, and 7 was printed"),
        ('"seq": 7}', '"seq": true}', "/seq: True is shown"),
        (', "seq": 7}', "}", "{'data'"),
        ("[null], ", "[0], ", "/data/0: 0 is shown"),
        ('print(\'{"seq"', 'print(\'no {"seq"', "line 25 printed no JSON"),
        ("name=world", "false", "line 9 failed"),
    ],
)
async def test_a_page_that_does_not_fails(
    tmp_path: Path, shown: str, instead: str, message: str
) -> None:
    assert shown in PAGE
    with pytest.raises(AssertionError, match=re.escape(message)):
        async with followed(PAGE.replace(shown, instead), tmp_path, {}):
            pass


@pytest.mark.parametrize(
    "page",
    [
        "```\nls\n```\n",
        "```ruby\nputs 1\n```\n",
        "~~~\nls\n~~~\n",
        "```sh title=a\nls\n```\n",
        "- a list\n\n  ```yaml\n  a: 1\n  ```\n",
        "```json\n{}\n```\n",
        "```sh\ntrue\n```\n```text\n```\n```text\n```\n",
        "```python\n# unused.py\n```\n",
        "<!-- not run: for a reason -->\nbut something else\n```yaml\n```\n",
    ],
)
def test_a_block_that_nobody_runs_is_an_error(page: str) -> None:
    with pytest.raises(ValueError, match=r"line \d"):
        steps_of(page)


def test_the_table_of_minor_units_is_the_contracts() -> None:
    text = (GUIDES / "frontends.md").read_text()
    named = {
        currency: int(row[1])
        for row in re.finditer(r"^\| ([034]) \| ([A-Z ]+) \|$", text, re.MULTILINE)
        for currency in row[2].split()
    }
    assert named == {code: digits for code, digits in MINOR_UNIT_EXPONENTS.items() if digits != 2}
