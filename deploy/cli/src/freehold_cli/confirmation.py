"""Confirmation before something is destroyed: its name has to be typed again."""

import sys
from typing import Annotated

import typer

from freehold_cli.errors import CliError, ExitCode

Confirm = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The name of what is destroyed, in place of the question."),
]


def require_confirmation(name: str, confirm: str | None, destroying: str) -> None:
    """Require that the name of what is destroyed is given again, at the terminal or as an option.

    Args:
        name: The name of what is destroyed.
        confirm: The name given on the command line.
        destroying: The action, as in "delete acme".

    Raises:
        CliError: The name was not given, or another one was.
    """
    if confirm is None and sys.stdin.isatty():
        confirm = typer.prompt(f"To {destroying}, for good, type {name}", err=True)
    if confirm != name:
        raise CliError(
            f"Nothing was done. To {destroying}, for good, add --confirm {name}", ExitCode.USAGE
        )
