"""``freehold restore`` and ``freehold former``: back to any second, and what was there before."""

from typing import Annotated

import typer

from freehold_cli.command_groups import CommandGroup
from freehold_cli.confirmation import Confirm, require_confirmation
from freehold_cli.connection import managing
from freehold_cli.errors import CliError, ExitCode
from freehold_cli.operations import finish
from freehold_cli.options import AsJson, NoWait, TenantId, parsed_time
from freehold_cli.output import write_json, write_list, write_message
from freehold_cli.service import Document

former = CommandGroup(
    no_args_is_help=True,
    help="List and drop the databases that restores left: former ones, and previews.",
)


def restore(
    tenant: TenantId,
    to: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="The moment to go back to, as 2026-03-01T12:00:00Z."),
    ] = None,
    to_seq: Annotated[
        int | None, typer.Option(metavar="SEQ", min=1, help="The last event to keep, by its seq.")
    ] = None,
    backup: Annotated[
        str | None, typer.Option(metavar="BACKUP", help="The id of a backup to restore.")
    ] = None,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview", help="Restore beside the live database, and leave that in place."
        ),
    ] = False,
    confirm: Confirm = None,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Restore a tenant's ledger as it was, verify it, and put it in the place of the live one.

    The tenant's id must be typed again, unless it is a preview: what was recorded after that moment
    is not in their ledger any more. The database that was live until then is kept: see
    `freehold former list`.

    Examples:
        freehold restore acme --to 2026-03-01T12:00:00Z --preview
        freehold restore acme --to-seq 1041 --confirm acme
    """
    if (to, to_seq, backup).count(None) != 2:
        raise CliError("Give one of --to TIME, --to-seq SEQ and --backup BACKUP.", ExitCode.USAGE)
    wanted: Document = {"to_seq": to_seq} if to_seq is not None else {"backup_id": backup}
    if to is not None:
        wanted = {"to": parsed_time(to)}
    if preview:
        wanted["preview"] = True
    else:
        require_confirmation(tenant, confirm, f"put an earlier ledger in the place of {tenant}'s")
    with managing(as_json=as_json) as manager:
        operation = manager.post("tenants", tenant, "restores", body=wanted)
        finish(manager, operation, no_wait=no_wait, as_json=as_json)


@former.command("list")
def list_(tenant: TenantId, as_json: AsJson = False) -> None:
    """List the databases that a tenant had before their restores, and previews.

    Examples:
        freehold former list acme
    """
    with managing(as_json=as_json) as manager:
        databases = manager.whole("tenants", tenant, "former-databases")
    write_list(
        databases,
        {
            "database": "name",
            "kind": "kind",
            "epoch": "epoch",
            "restored to": "restored_to",
            "created": "created_at",
        },
        as_json=as_json,
    )


@former.command("drop")
def drop(
    tenant: TenantId,
    database: Annotated[str, typer.Argument(help="Its name, as the list shows it.")],
    confirm: Confirm = None,
    as_json: AsJson = False,
) -> None:
    """Drop a database that a restore has left beside, for good. Its name must be typed again.

    Examples:
        freehold former drop acme fh_0a1b2c3d4e5f6071
    """
    require_confirmation(database, confirm, f"drop {database} of {tenant}")
    with managing(as_json=as_json) as manager:
        manager.delete(
            "tenants", tenant, "former-databases", database, params={"confirm": database}
        )
    if as_json:
        write_json({"database": database, "dropped": True})
        return
    write_message(f"{database} is dropped.")
