"""A guide as a reader follows it: its blocks of code, run in order, and the answers that it shows.

A page needs nothing for this but what a reader needs:

- A block whose first line is a comment that names a file (``# webhook.py``) is saved as that file.
- Blocks of ``sh`` run one after the other in one shell; those of Python and JavaScript without a
  file's name are run as programs.
- A block of ``json`` or ``text`` is what the block before it printed. JSON is compared as JSON,
  text word by word. A word, or a JSON string, that ends with … stands for any that begins so.
- A block after ``<!-- not run: why -->`` is only read.
"""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

GUIDES = Path(__file__).parents[2] / "services/guides"
NODE = shutil.which("node")
TIMEOUT_S = 600

# What runs the block in the file {}; the names of modules are then those of the reader's folder.
_RUNNERS = {
    "sh": ". {} < /dev/null",
    "python": "python - < {}",
    "js": "node --input-type=module - < {}",
}
_SHOWN = ("json", "text")
_FENCE = re.compile(r" *(?:```|~~~)(.*)")
_NOT_RUN = re.compile(r"<!-- not run: .+ -->")
_FILE_NAME = re.compile(r"(?:#|//|<!--) ([\w-]+\.\w+)(?: -->)?")
_ANY = "…"


@dataclass(frozen=True, slots=True)
class Step:
    """A block of code of a page."""

    line: int
    language: str
    text: str
    shown: "Step | None" = None
    """What it prints, according to the page; None where the page does not say."""

    @property
    def file_name(self) -> str | None:
        """The name under which a reader saves it; None if it is run."""
        found = _FILE_NAME.fullmatch(self.text.partition("\n")[0])
        return found and found[1]

    @property
    def needs_node(self) -> bool:
        """Whether it is, or starts, a program for Node."""
        return self.language == "js" or (
            self.language == "sh" and re.search(r"\bnode\b", self.text) is not None
        )


def guide(name: str, names: Mapping[str, str]) -> str:
    """Give the text of a guide with other names in it.

    Args:
        name: The guide.
        names: What the page says, and what it is called here: ports, addresses, a tenant's id.
    """
    text = (GUIDES / f"{name}.md").read_text()
    for theirs, ours in names.items():
        text = text.replace(theirs, ours)
    return text


def steps_of(page: str) -> list[Step]:
    """Find the steps of a page.

    Raises:
        ValueError: A block is in no known language, shows what nothing printed, or is saved and
            never used.
    """
    steps: list[Step] = []
    for block, is_run in _blocks(page):
        if not is_run:
            continue
        if block.language in _SHOWN:
            last = steps[-1] if steps else block
            if last.shown is not None or last.file_name or last.language not in _RUNNERS:
                raise ValueError(f"line {block.line}: nothing before this block prints it")
            steps[-1] = Step(last.line, last.language, last.text, shown=block)
        elif block.file_name is None and block.language not in _RUNNERS:
            raise ValueError(f"line {block.line}: how is a block of {block.language!r} run?")
        else:
            steps.append(block)
    for step in steps:
        if step.file_name and not _is_used(step.file_name, steps):
            raise ValueError(f"line {step.line}: nothing uses {step.file_name}")
    return steps


def saved_files(page: str) -> dict[str, str]:
    """Find what a page has its reader save, by the files' names."""
    return {step.file_name: step.text for step in steps_of(page) if step.file_name}


def _blocks(page: str) -> Iterator[tuple[Step, bool]]:
    """Give each fenced block, and whether it is meant to be run."""
    lines = enumerate(page.splitlines(), 1)
    is_run = True
    for number, line in lines:
        if fence := _FENCE.match(line):
            text = []
            for _, inner in lines:
                if _FENCE.match(inner):
                    break
                text.append(inner + "\n")
            yield Step(number, fence[1].strip(), "".join(text)), is_run
        if line.strip():
            is_run = _NOT_RUN.fullmatch(line) is None


def _is_used(file_name: str, steps: Sequence[Step]) -> bool:
    name = re.compile(rf"\b{re.escape(file_name.removesuffix('.py'))}\b")
    return any(name.search(step.text) for step in steps if step.file_name != file_name)


@asynccontextmanager
async def followed(
    page: str, folder: Path, environment: Mapping[str, str]
) -> AsyncIterator[list[Step]]:
    """Follow a page to its end, check what it shows, and leave its servers running for a while.

    Args:
        page: The text of the page.
        folder: Where the reader works: it gets a `.venv`, as a checkout has.
        environment: The reader's variables.

    Yields:
        The steps that could not be taken, for want of Node.
    """
    steps = steps_of(page)
    left_out = [step for step in steps if step.needs_node and NODE is None]
    (folder / ".venv").symlink_to(sys.prefix)
    records = folder / ".steps"
    records.mkdir()
    for number, step in enumerate(steps):
        (records / str(number)).write_text(step.text)
    shell = await asyncio.create_subprocess_exec(
        "bash",
        "-c",
        _script(steps, left_out, records),
        cwd=folder,
        env={"PATH": f"{sys.prefix}/bin:/usr/bin:/bin", "HOME": str(folder), **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await _check_end(shell, steps, records)
        for number, step in enumerate(steps):
            if step.shown is not None and step not in left_out:
                _check_shown(step, (records / f"{number}.out").read_text())
        yield left_out
    finally:
        # The shell waits for its input, so the group is there, with whatever servers it started.
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        await shell.wait()


def _script(steps: Sequence[Step], left_out: Sequence[Step], records: Path) -> str:
    """Write the reader's session as a script, which at its end waits for its input."""
    lines = ["set -e", "trap 'echo \"ended $?\"; read -r' EXIT"]
    for number, step in enumerate(steps):
        source = records / str(number)
        if step in left_out:
            continue
        lines.append(f"echo {number}")
        if step.file_name:
            lines.append(f"cp {source} {step.file_name}")
        else:
            run = _RUNNERS[step.language].format(source)
            lines.append(f"{run} > {source}.out 2> {source}.err")
    return "\n".join(lines)


async def _check_end(
    shell: asyncio.subprocess.Process, steps: Sequence[Step], records: Path
) -> None:
    assert shell.stdout is not None
    number = 0
    while not (line := (await shell.stdout.readline()).decode()).startswith("ended"):
        assert line, "the shell is gone"
        number = int(line)
    if line != "ended 0\n":
        step = steps[number]
        raise AssertionError(f"line {step.line} failed ({line.strip()}):\n{_told(records, number)}")


def _told(records: Path, number: int) -> str:
    return "".join(path.read_text() for path in records.glob(f"{number}.*"))


def _check_shown(step: Step, printed: str) -> None:
    assert step.shown is not None
    if step.shown.language == "json":
        try:
            real = json.loads(printed)
        except ValueError:
            raise AssertionError(f"line {step.line} printed no JSON: {printed!r}") from None
        differences = list(_differences(json.loads(step.shown.text), real))
    else:
        lines = zip_longest(step.shown.text.splitlines(), printed.splitlines(), fillvalue="")
        differences = [
            f"{shown!r} is shown, and {real!r} was printed"
            for shown, real in lines
            if not _fit(shown.split(), real.split())
        ]
    assert not differences, "\n".join([f"line {step.shown.line}:", *differences, printed])


def _fit(shown: Sequence[str], real: Sequence[str]) -> bool:
    return len(shown) == len(real) and all(map(_fits, shown, real))


def _fits(shown: object, real: object) -> bool:
    if isinstance(shown, str) and isinstance(real, str) and shown.endswith(_ANY):
        return real.startswith(shown.removesuffix(_ANY))
    return type(shown) is type(real) and shown == real


def _differences(shown: Any, real: Any, where: str = "") -> Iterator[str]:
    """Compare two JSON values, and name where they differ."""
    if isinstance(shown, dict) and isinstance(real, dict) and shown.keys() == real.keys():
        for name, value in shown.items():
            yield from _differences(value, real[name], f"{where}/{name}")
    elif isinstance(shown, list) and isinstance(real, list) and len(shown) == len(real):
        for number, (its, ours) in enumerate(zip(shown, real, strict=True)):
            yield from _differences(its, ours, f"{where}/{number}")
    elif not _fits(shown, real):
        yield f"{where}: {shown!r} is shown, and {real!r} was printed"
