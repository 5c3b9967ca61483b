"""Progress of an export: a bar at a terminal, and a line every five seconds elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from freehold_cli.output import Pacing, errors, shown_size, write_message


@contextmanager
def showing() -> Iterator[Callable[[int], None]]:
    """Show how many bytes have arrived. The total is not known beforehand."""
    if not errors.is_terminal:
        yield _lines()
        return
    columns = (SpinnerColumn(), DownloadColumn(), TransferSpeedColumn(), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda size: bar.update(task, completed=size)


def _lines() -> Callable[[int], None]:
    pacing = Pacing()

    def show(size: int) -> None:
        if pacing.is_due():
            write_message(f"{shown_size(size)} so far")

    return show
