"""The command ``freehold``: what operators and tenants do at a terminal."""

import signal
import sys
from types import FrameType

import typer

from freehold_cli.errors import CliError
from freehold_cli.importing.command import import_events
from freehold_cli.output import tell_error

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Help texts are docstrings, whose lines end where the source's do.
    rich_markup_mode="markdown",
)
app.command("import")(import_events)


@app.callback()
def freehold() -> None:
    """What operators and tenants of Freehold do at a terminal."""


def main() -> None:
    """Run the command line; what a person can mend is told to them without a traceback."""
    # As an interrupt at the keyboard does: what was begun is cleaned up.
    signal.signal(signal.SIGTERM, _end)
    try:
        app()
    except CliError as error:
        tell_error(str(error))
        sys.exit(error.exit_code)


def _end(_: int, __: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
