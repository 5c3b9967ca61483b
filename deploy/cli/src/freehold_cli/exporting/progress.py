"""How much of an export has come: a bar at a terminal, and now and then a line elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from freehold_cli.output import errors, shown_size, tell

_LINE_EVERY_S = 5.0


@contextmanager
def showing() -> Iterator[Callable[[int], None]]:
    """Show how many bytes have come, for a while; how many will come nobody knows beforehand."""
    if not errors.is_terminal:
        yield _lines()
        return
    columns = (SpinnerColumn(), DownloadColumn(), TransferSpeedColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda size: bar.update(task, completed=size)


def _lines() -> Callable[[int], None]:
    told_at = time.monotonic()

    def show(size: int) -> None:
        nonlocal told_at
        now = time.monotonic()
        if now - told_at >= _LINE_EVERY_S:
            tell(f"{shown_size(size)} so far")
            told_at = now

    return show
