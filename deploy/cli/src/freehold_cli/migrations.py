"""``freehold migrate``: every tenant's ledger brought to this release's schema."""

from enum import StrEnum
from typing import Annotated

import typer

from freehold_cli.command_groups import CommandGroup
from freehold_cli.connection import managing
from freehold_cli.operations import finish
from freehold_cli.options import AsJson, NoWait
from freehold_cli.output import write_facts, write_json, write_list

app = CommandGroup()


class Phase(StrEnum):
    """When a migration is run: before the new release is deployed, or after."""

    BEFORE = "before"
    AFTER = "after"


@app.callback(invoke_without_command=True)
def migrate(
    context: typer.Context,
    phase: Annotated[
        Phase, typer.Option(help="Before the new release is deployed, or after.")
    ] = Phase.BEFORE,
    tenants: Annotated[
        str | None,
        typer.Option(
            metavar="A,B", help="Only these tenants, such as a few to try it on. Left out: all."
        ),
    ] = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Migrate every tenant's ledger, or those that are named. Again, what failed is tried again.

    One tenant's failure keeps no other waiting: `freehold migrate status` names them.

    Examples:
        freehold migrate --tenants acme,globex
        freehold migrate --phase after
    """
    if context.invoked_subcommand is not None:
        return
    named = None if tenants is None else [name.strip() for name in tenants.split(",")]
    with managing(as_json=as_json) as manager:
        operation = manager.post("migrations", body={"phase": phase, "tenants": named})
        finish(manager, operation, no_wait=no_wait, as_json=as_json)


@app.command("status")
def status(
    only: Annotated[
        str | None, typer.Option("--status", help="Only tenants with this status, such as failed.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the versions that tenants' ledgers have, and how each migration went.

    Examples:
        freehold migrate status
        freehold migrate status --status failed
    """
    with managing(as_json=as_json) as manager:
        found = manager.whole("migrations", params={"status": only})
    if as_json:
        write_json(found)
        return
    version, oldest = found["ledger_version"], found["ledger_version_min"]
    write_facts(
        {
            "this_release_has": f"version {version}, and works with {oldest} to {version}",
            **{f"version_{each['schema_version']}": each["tenants"] for each in found["versions"]},
            **{status: count for status, count in found["statuses"].items() if count},
        }
    )
    write_list(
        found,
        {
            "tenant": "tenant_id",
            "version": "schema_version",
            "status": "status",
            "due": "due",
            "attempts": "attempts",
            "finished": "finished_at",
            "error": "error",
        },
        as_json=False,
    )
