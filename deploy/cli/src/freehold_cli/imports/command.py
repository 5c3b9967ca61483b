"""The command: its options, and its steps in order."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from freehold_cli.connection import importing
from freehold_cli.errors import CliError, ExitCode
from freehold_cli.imports.dry_run import checking
from freehold_cli.imports.event_file import EventFile, Format, format_of
from freehold_cli.imports.progress import showing
from freehold_cli.imports.report import Report
from freehold_cli.imports.sender import Sender
from freehold_cli.imports.tally import Tally
from freehold_cli.output import write_message


def import_events(
    file: Annotated[
        Path, typer.Argument(help="NDJSON, or CSV with a header; - is standard input.")
    ],
    tenant: Annotated[str | None, typer.Option(help="Whose ledger it goes into.")] = None,
    written_as: Annotated[
        Format | None,
        typer.Option("--format", help="The file's format, where its name does not say."),
    ] = None,
    api_key_file: Annotated[
        Path | None, typer.Option(help="A file with an API key, in place of FREEHOLD_API_KEY.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check every line and send nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Import events from a file. The same file again imports only what is missing.

    Each event has an external_id, by which the ledger knows it again. The key, with the scope
    ingest, is in FREEHOLD_API_KEY; where none is set, FREEHOLD_OPERATOR_TOKEN and --tenant have one
    made for as long as the import takes.

    Exits with 0 where every line is in the ledger, 1 where some were rejected or there are no rows,
    2 where it was called wrongly (a file without any event, too), and 3 where it could not finish.

    Examples:
        freehold import payments.csv --dry-run
        freehold import payments.ndjson --tenant acme
        zcat payments.csv.gz | freehold import - --format csv --api-key-file shop.key
    """
    tally = Tally()
    report = Report(tally, as_json=as_json)
    with _opened(file) as stream:
        events = EventFile(stream, written_as or format_of(file))
        if dry_run:
            _check(events, stream, report)
        else:
            _send(events, stream, report, tenant, api_key_file)
        if events.open_row is not None:
            write_message(
                f"Line {events.open_row}, the last one, has no line break at its end. If the file"
                " may have been cut off, see whether its last cell is whole."
            )
    raise typer.Exit(ExitCode.REJECTED if tally.rejected_count else ExitCode.DONE)


def _check(events: EventFile, stream: BinaryIO, report: Report) -> None:
    try:
        with checking(report.tally) as check, showing(events, report.tally) as shown:
            for entry in events:
                check.add(entry)
                shown.update()
            repeats = check.finish()
    except CliError as error:
        raise report.unfinished(error, dry_run=True) from error
    report.checked(repeats)


def _send(
    events: EventFile, stream: BinaryIO, report: Report, tenant: str | None, key_file: Path | None
) -> None:
    try:
        with importing(tenant, key_file) as ingest:
            sender = Sender(ingest, report.tally, write_message)
            tenant_id = sender.find_tenant(tenant)
            with showing(events, report.tally) as shown:
                for _ in sender.send(events):
                    shown.update()
    except CliError as error:
        raise report.unfinished(error) from error
    except KeyboardInterrupt:
        raise report.unfinished(CliError("Interrupted.", ExitCode.INTERRUPTED)) from None
    report.imported(tenant_id)


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = file.open("rb")
    except OSError as error:
        raise CliError(
            f"{file} cannot be read: {error.strerror or error}", ExitCode.USAGE
        ) from error
    with stream:
        yield stream
