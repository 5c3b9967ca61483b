"""Commands whose help ends with examples, which are the last part of their docstring."""

from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from freehold_cli.output import out

Function = TypeVar("Function", bound=Callable[..., Any])

_HEADING = "Examples:"


class _Examples:
    """Prints the examples after the rest of the help, as they stand: for copying."""

    def __init__(self, *args: Any, help: str | None = None, **options: Any) -> None:  # noqa: A002
        text, _, examples = (help or "").partition(f"\n{_HEADING}\n")
        self.examples = [line.strip() for line in examples.splitlines() if line.strip()]
        super().__init__(*args, help=text.rstrip(), **options)  # type: ignore[call-arg]

    def format_help(self, context: Any, formatter: Any) -> None:
        """Print the help."""
        super().format_help(context, formatter)  # type: ignore[misc]
        if self.examples:
            lines = [f" {_HEADING}", *(f"   {example}" for example in self.examples), ""]
            out.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


class Command(_Examples, TyperCommand):
    """A command with examples."""


class Group(_Examples, TyperGroup):
    """A group of commands, with examples of its own where it is a command itself."""


class CommandGroup(typer.Typer):
    """Commands of one kind, whose help has their examples."""

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=Group, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        """Make a function a command."""
        return super().command(name, cls=Command, **options)
