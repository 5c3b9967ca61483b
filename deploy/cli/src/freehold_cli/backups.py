"""``freehold backup``: a tenant's backups."""

from typing import Annotated

import typer

from freehold_cli.command_groups import CommandGroup
from freehold_cli.connection import managing
from freehold_cli.operations import finish
from freehold_cli.options import AsJson, NoWait, TenantId
from freehold_cli.output import shown_size, write_list

app = CommandGroup(no_args_is_help=True, help="Make, list and verify a tenant's backups.")


@app.command("create")
def create(tenant: TenantId, no_wait: NoWait = False, as_json: AsJson = False) -> None:
    """Make a backup now, besides those that are made on a schedule.

    Examples:
        freehold backup create acme
    """
    with managing(as_json=as_json) as manager:
        operation = manager.post("tenants", tenant, "backups")
        finish(manager, operation, no_wait=no_wait, as_json=as_json)


@app.command("list")
def list_(tenant: TenantId, as_json: AsJson = False) -> None:
    """List a tenant's backups, the newest first.

    Examples:
        freehold backup list acme
    """
    with managing(as_json=as_json) as manager:
        backups = manager.whole("tenants", tenant, "backups")
    write_list(
        backups,
        {
            "backup": "backup_id",
            "status": "status",
            "created": "created_at",
            "events": "events",
            "epoch": "epoch",
            "size": lambda backup: shown_size(backup["bytes"]),
            "verified": "verified_at",
        },
        as_json=as_json,
    )


@app.command("verify")
def verify(
    tenant: TenantId,
    backup: Annotated[str, typer.Argument(help="The backup's id.")],
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Restore a backup into a database of its own, prove its ledger there, and drop it again.

    Examples:
        freehold backup verify acme 0b0c7a52-7f0c-4c86-9a35-0d7c0f4f2a11
    """
    with managing(as_json=as_json) as manager:
        operation = manager.post("tenants", tenant, "backups", backup, "verify")
        finish(manager, operation, no_wait=no_wait, as_json=as_json)
