"""Lines are the same wherever the bytes happen to be split on their way."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.contracts.errors import DomainError
from freehold.contracts.imports import LINE_BYTES_MAX
from freehold.http.lines import Line, Lines, read_event, rejected

MARK = b"\xef\xbb\xbf"
LONGEST = b"x" * LINE_BYTES_MAX
parts = st.sampled_from(
    [b"", b"a", b"\n", b"\r\n", b"\xc3\xa9", MARK, LONGEST, LONGEST[:-1], LONGEST + b"y"]
)


@given(st.lists(parts, max_size=12).map(b"".join), st.data())
def test_any_split_of_the_bytes_gives_the_same_lines(text: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    places = [0, *sorted(cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(places)]
    expected = text.split(b"\n")
    if not expected[-1]:
        expected.pop()
    texts = [None if len(line) > LINE_BYTES_MAX else line for line in expected]
    if texts and texts[0] is not None:
        texts[0] = texts[0].removeprefix(MARK)
    open_one = len(texts) if text.split(b"\n")[-1] else 0
    assert cut(pieces) == [
        Line(number, line, number == open_one) for number, line in enumerate(texts, start=1)
    ]


def test_a_line_without_an_end_is_not_kept() -> None:
    lines = Lines()
    for _ in range(1000):
        assert list(lines.feed(LONGEST)) == []
    assert list(lines.feed(b"x\nshort\n")) == [Line(1, None), Line(2, b"short")]
    assert list(lines.end()) == []


@pytest.mark.parametrize("text", [b"", b"\r", b" \t\r"])
def test_white_space_alone_is_an_empty_line(text: bytes) -> None:
    assert Line(1, text).is_empty


def test_a_rejected_line_says_where_its_faults_are() -> None:
    with pytest.raises(DomainError) as refused:
        read_event(Line(7, b'{"account_id": "cus_1", "external_id": null, "colour": "red"}'))
    entry = rejected(7, refused.value)
    assert (entry.line, entry.type) == (7, "/problems/validation-failed")
    assert {error.pointer for error in entry.errors} >= {"/external_id", "/colour", "/event_type"}


def cut(pieces: list[bytes]) -> list[Line]:
    lines = Lines()
    found = [line for piece in pieces for line in lines.feed(piece)]
    found += lines.end()
    assert lines.count == len(found)
    return found
