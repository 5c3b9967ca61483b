"""``freehold restore`` and ``freehold former``: back to any second, and what was there before."""

from typing import Annotated

import typer

from freehold_cli.errors import CliError, ExitCode
from freehold_cli.manager import Document, managing
from freehold_cli.operations import finish
from freehold_cli.options import AsJson, NoWait, TenantId, parsed_time
from freehold_cli.output import shown_time, tell, write_json, write_table

former = typer.Typer(no_args_is_help=True, help="The databases that restores have left beside.")


def restore(
    tenant: TenantId,
    to: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="The moment to go back to, as 2026-03-01T12:00:00Z."),
    ] = None,
    backup: Annotated[
        str | None, typer.Option(metavar="BACKUP", help="A backup's id, to go back to just that.")
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Leave it beside the live database, unswapped.")
    ] = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Restore a tenant's ledger as it was, verify it, and put it in the place of the live one.

    The database that was live until then is kept: see `freehold former list`.
    """
    if (to is None) == (backup is None):
        raise CliError("Give --to TIME or --backup BACKUP.", ExitCode.USAGE)
    wanted: Document = {"to": parsed_time(to)} if to is not None else {"backup_id": backup}
    if preview:
        wanted["preview"] = True
    with managing(as_json=as_json) as manager:
        operation = manager.post("tenants", tenant, "restores", body=wanted)
        finish(manager, operation, no_wait=no_wait, as_json=as_json)


@former.command("list")
def list_(tenant: TenantId, as_json: AsJson = False) -> None:
    """List the databases that a tenant had before their restores, and previews."""
    with managing(as_json=as_json) as manager:
        databases = manager.whole("tenants", tenant, "former-databases")
    if as_json:
        write_json(databases)
        return
    write_table(
        ("database", "kind", "epoch", "restored to", "created"),
        (
            (
                each["name"],
                each["kind"],
                each["epoch"],
                each["restored_to"],
                shown_time(each["created_at"]),
            )
            for each in databases["data"]
        ),
    )


@former.command("drop")
def drop(
    tenant: TenantId,
    database: Annotated[str, typer.Argument(help="Its name, as the list shows it.")],
    as_json: AsJson = False,
) -> None:
    """Drop a database that a restore has left beside, for good."""
    with managing(as_json=as_json) as manager:
        manager.delete("tenants", tenant, "former-databases", database)
    if as_json:
        write_json({"database": database, "dropped": True})
        return
    tell(f"{database} is dropped.")
