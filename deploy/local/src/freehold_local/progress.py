"""What a person sees while the stack starts and stops; a test sees nothing of it."""

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console


class Progress(Protocol):
    """Told what the stack is doing. Neither method may raise or block."""

    def doing(self, what: str) -> None:
        """Say what is being done or waited for now, instead of what was said before."""

    def done(self, what: str) -> None:
        """Say, for good, what has been done."""


class Silence:
    """A progress that nobody watches."""

    def doing(self, what: str) -> None:
        """Say nothing."""

    def done(self, what: str) -> None:
        """Say nothing."""


class Terminal:
    """A progress in a terminal: a spinner with what is being done, and lines of what was done."""

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
