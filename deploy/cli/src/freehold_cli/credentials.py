"""``freehold credentials``: how a customer reaches their own database, and new passwords for it."""

from typing import Annotated

import typer

from freehold_cli.command_groups import CommandGroup
from freehold_cli.confirmation import Confirm, require_confirmation
from freehold_cli.connection import managing
from freehold_cli.options import AsJson, TenantId
from freehold_cli.output import write_json, write_line, write_message

app = CommandGroup(
    no_args_is_help=True, help="Show a tenant's own connection string; rotate passwords."
)


@app.command("show")
def show(tenant: TenantId, as_json: AsJson = False) -> None:
    """Print the customer's own read-only connection string, with its password.

    Examples:
        freehold credentials show acme
        psql "$(freehold credentials show acme)" -c "SELECT ledger.verify()"
    """
    with managing(as_json=as_json) as manager:
        found = manager.get("tenants", tenant, "credentials")
    if as_json:
        write_json(found)
        return
    write_line(found["dsn"])


@app.command("rotate")
def rotate(
    tenant: TenantId,
    service: Annotated[
        str | None,
        typer.Option(help="Only this role: ingest, projector, query, manager, backup or auditor."),
    ] = None,
    confirm: Confirm = None,
    as_json: AsJson = False,
) -> None:
    """Give the roles of a tenant's database new passwords. No request fails meanwhile.

    If auditor is among them, the customer's own connection string ends with its password, and the
    tenant's id must be typed again.

    Examples:
        freehold credentials rotate acme --service ingest
        freehold credentials rotate acme --confirm acme
    """
    if service in {None, "auditor"}:
        require_confirmation(tenant, confirm, f"end the connection string that {tenant} has")
    with managing(as_json=as_json) as manager:
        rotated = manager.post(
            "tenants", tenant, "credentials", "rotate", body={"service": service}
        )
    if as_json:
        write_json(rotated)
        return
    write_message(f"Rotated: {service or 'every role'} of {tenant}.")
    if service in {None, "auditor"}:
        write_message(
            f"The customer's own connection string is new: freehold credentials show {tenant}"
        )
