"""Progress of an import: a bar at a terminal, and a line every five seconds elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from freehold_cli.imports.event_file import EventFile
from freehold_cli.imports.tally import Tally
from freehold_cli.output import Pacing, errors, write_message


class Showing(Protocol):
    """Shows the progress of an import."""

    def update(self) -> None:
        """Show the present state."""


@contextmanager
def showing(file: EventFile, tally: Tally) -> Iterator[Showing]:
    """Show the progress until the end of the block."""
    if not errors.is_terminal:
        yield _TextLines(file, tally)
        return
    with _bar() as bar:
        yield _Bar(bar, file, tally)


class _TextLines:
    def __init__(self, file: EventFile, tally: Tally) -> None:
        self._file = file
        self._tally = tally
        self._total = file.size
        self._began = time.monotonic()
        self._pacing = Pacing()

    def update(self) -> None:
        if not self._pacing.is_due():
            return
        share = f"{self._file.bytes_read / self._total:.0%}, " if self._total else ""
        events = self._tally.events
        write_message(
            f"{share}{events:,} events, {events / (time.monotonic() - self._began):,.0f}/s"
        )


class _Bar:
    def __init__(self, bar: Progress, file: EventFile, tally: Tally) -> None:
        self._bar = bar
        self._file = file
        self._tally = tally
        self._began = time.monotonic()
        self._task = bar.add_task("", total=file.size, events=0, per_s=0.0)

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
