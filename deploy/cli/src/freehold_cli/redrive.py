"""``freehold redrive``: doorbells that could not be served go back into the projector's queue."""

from typing import Annotated

import typer

from freehold_cli.connection import managing
from freehold_cli.operations import finish
from freehold_cli.options import AsJson, NoWait
from freehold_cli.output import write_line
from freehold_cli.service import Document


def redrive(
    limit: Annotated[
        int | None, typer.Option(min=1, help="How many at most. Left out: all.")
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Put parked doorbells back into the projector's queue, once their cause is mended.

    Nothing is lost while they are parked: the events stand in the ledger. Each goes back once.

    Examples:
        freehold redrive --limit 10
        freehold redrive
    """
    with managing(as_json=as_json) as manager:
        operation = manager.post("doorbells", "redrive", body={"limit": limit})
        finish(manager, operation, no_wait=no_wait, as_json=as_json, show=_show)


def _show(result: Document) -> None:
    write_line(f"{result['redriven']:,} doorbells put back")
