"""The command ``freehold``: what operators and tenants do at a terminal."""

import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from freehold.release import this_release
from freehold_cli import (
    backups,
    credentials,
    keys,
    migrations,
    operations,
    operators,
    restores,
    tenants,
)
from freehold_cli.balances import balances
from freehold_cli.command_groups import CommandGroup
from freehold_cli.errors import CliError, ExitCode
from freehold_cli.events import events
from freehold_cli.export.command import export
from freehold_cli.imports.command import import_events
from freehold_cli.output import write_error, write_line
from freehold_cli.redrive import redrive
from freehold_cli.statements import statement
from freehold_cli.status.command import status
from freehold_cli.streams import guard_streams
from freehold_cli.usage import usage
from freehold_cli.verification import verify

_EXIT_CODES = (
    "Exits with 0 when all went well; 1 when it ran and did not succeed (lines rejected, faults"
    " found, an operation failed); 2 when called wrongly; 3 when a server refused"
    " or did not answer, or the result cannot be written; 130 when interrupted."
)

app = CommandGroup(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Help texts are docstrings, whose lines end where the source's do.
    rich_markup_mode="markdown",
    epilog=_EXIT_CODES,
)
app.command("status")(status)
app.command("usage")(usage)
app.add_typer(tenants.app, name="tenants")
app.add_typer(keys.app, name="keys")
app.add_typer(credentials.app, name="credentials")
app.command("events")(events)
app.command("balances")(balances)
app.command("statement")(statement)
app.command("import")(import_events)
app.command("export")(export)
app.add_typer(backups.app, name="backup")
app.command("restore")(restores.restore)
app.add_typer(restores.former, name="former")
app.add_typer(migrations.app, name="migrate")
app.command("verify")(verify)
app.command("redrive")(redrive)
app.add_typer(operations.app, name="operations")
app.add_typer(operators.app, name="operators")


def _write_version(wanted: bool) -> None:
    if wanted:
        write_line(f"freehold {this_release()}")
        raise typer.Exit


@app.callback()
def freehold(
    _: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_write_version,
            is_eager=True,
            help="Print version and commit, and end.",
        ),
    ] = False,
) -> None:
    """What operators and tenants of Freehold do at a terminal.

    The operator's token is in FREEHOLD_OPERATOR_TOKEN or in the file that
    FREEHOLD_OPERATOR_TOKEN_FILE names; where neither is set, a person is asked for it. A tenant's
    own API key is in FREEHOLD_API_KEY.

    Examples:
        freehold status
        freehold tenants create acme --name "Acme Ltd" --output acme.key
        freehold balances --prefix cus_ --tenant acme
    """


def main() -> None:
    """Run the command line; what a person can mend is reported without a traceback."""
    guard_streams()
    # As an interrupt at the keyboard does: what was begun is cleaned up.
    signal.signal(signal.SIGTERM, _end)
    try:
        try:
            app()
        finally:
            # What stays in a buffer until Python ends would fail too late to be reported.
            sys.stdout.flush()
    except CliError as error:
        if str(error):
            write_error(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        # A settings file that may not be read, for one.
        write_error(str(error))
        sys.exit(ExitCode.FAILED)


def _end(_: int, __: FrameType | None) -> None:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()
