"""Progress messages while the stack starts and stops."""

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console


class Progress(Protocol):
    """Receives progress messages. Neither method may raise or block."""

    def doing(self, what: str) -> None:
        """Replace the message about what is going on now."""

    def done(self, what: str) -> None:
        """Print what has been done."""


class Silence:
    """Discards the messages."""

    def doing(self, what: str) -> None:
        """Discard it."""

    def done(self, what: str) -> None:
        """Discard it."""


class Terminal:
    """Shows a spinner with what is going on, and a line for each thing done."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("")

    def __enter__(self) -> Self:
        self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._status.stop()

    def doing(self, what: str) -> None:
        """Show it beside the spinner."""
        self._status.update(what)

    def done(self, what: str) -> None:
        """Print it as a line."""
        self._console.print(f"[green]✓[/green] {what}", highlight=False, soft_wrap=True)
