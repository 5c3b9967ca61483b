"""How far an import has come: a bar at a terminal, and now and then a line elsewhere."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Protocol

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from freehold_cli.importing.reading import EventFile
from freehold_cli.importing.tally import Tally
from freehold_cli.output import errors, tell

_LINE_EVERY_S = 5.0


class Showing(Protocol):
    """Shows how far it has come."""

    def update(self) -> None:
        """Show it as it is now."""


@contextmanager
def showing(file: EventFile, stream: BinaryIO, tally: Tally) -> Iterator[Showing]:
    """Show how far it has come, for a while."""
    total = _size(stream)
    if not errors.is_terminal:
        yield _TextLines(file, tally, total)
        return
    with _bar() as bar:
        yield _Bar(bar, file, tally, total)


class _TextLines:
    def __init__(self, file: EventFile, tally: Tally, total: int | None) -> None:
        self._file = file
        self._tally = tally
        self._total = total
        self._began = self._told = time.monotonic()

    def update(self) -> None:
        now = time.monotonic()
        if now - self._told < _LINE_EVERY_S:
            return
        self._told = now
        share = f"{self._file.bytes_read / self._total:.0%}, " if self._total else ""
        events = self._tally.events
        tell(f"{share}{events:,} events, {events / (now - self._began):,.0f}/s")


class _Bar:
    def __init__(self, bar: Progress, file: EventFile, tally: Tally, total: int | None) -> None:
        self._bar = bar
        self._file = file
        self._tally = tally
        self._began = time.monotonic()
        self._task = bar.add_task("", total=total, events=0, per_s=0.0)

    def update(self) -> None:
        events = self._tally.events
        self._bar.update(
            self._task,
            completed=self._file.bytes_read,
            events=events,
            per_s=events / (time.monotonic() - self._began),
        )


def _bar() -> Progress:
    return Progress(
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[events]:,} events"),
        TextColumn("{task.fields[per_s]:,.0f}/s"),
        TimeRemainingColumn(),
        console=errors,
    )


def _size(stream: BinaryIO) -> int | None:
    """A file's size in bytes; None for what has none, such as a pipe."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
