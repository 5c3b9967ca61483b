"""``freehold tenants``: the lifecycle of tenants, from creation to deletion."""

from typing import Annotated

import typer

from freehold_cli.command_groups import CommandGroup
from freehold_cli.confirmation import Confirm, require_confirmation
from freehold_cli.connection import managing
from freehold_cli.key_delivery import KeyFile, delivering
from freehold_cli.operations import finish
from freehold_cli.options import AsJson, NoWait, TenantId
from freehold_cli.output import (
    shown_size,
    shown_time,
    write_facts,
    write_json,
    write_list,
    write_message,
)
from freehold_cli.service import Document

app = CommandGroup(no_args_is_help=True, help="Make, list, show, suspend and delete tenants.")


@app.command("create")
def create(
    tenant: TenantId,
    name: Annotated[
        str | None, typer.Option(help="The tenant's name for people. Left out: the id.")
    ] = None,
    region: Annotated[str, typer.Option(help="The region that the ledger lives in.")] = "local",
    output: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a tenant, and print their first API key. It is shown this once.

    If the key cannot be written, it is revoked at once, and the tenant stays.

    Repeated with the same name and region, it changes nothing and shows no key: make one with
    `freehold keys create`.

    Examples:
        freehold tenants create acme --name "Acme Ltd" --output acme.key
    """
    wanted = {"tenant_id": tenant, "name": name or tenant, "region": region}
    with (
        managing(as_json=as_json) as manager,
        delivering(manager, tenant, output, as_json=as_json) as deliver,
    ):
        made = manager.post("tenants", body=wanted)
        if made.get("api_key") is None:
            write_message(
                f"{tenant} existed already. For another key: freehold keys create {tenant}"
                " --scope SCOPE"
            )
            if as_json:
                write_json(made)
            raise typer.Exit
        where = "" if output is None else f" It goes to {output}."
        write_message(
            f"{tenant} is made. Their API key has all scopes and is not shown again.{where}"
        )
        deliver(made)


@app.command("list")
def list_(
    status: Annotated[str | None, typer.Option(help="Only those with this status.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the tenants.

    Examples:
        freehold tenants list --status suspended
        freehold tenants list --json | jq -r ".data[].tenant_id"
    """
    with managing(as_json=as_json) as manager:
        tenants = manager.whole("tenants", params={"status": status})
    write_list(
        tenants,
        {
            "tenant": "tenant_id",
            "name": "name",
            "status": "status",
            "region": "region",
            "schema": "schema_version",
            "epoch": "epoch",
            "created": "created_at",
        },
        as_json=as_json,
    )


@app.command("show")
def show(tenant: TenantId, as_json: AsJson = False) -> None:
    """Show a tenant: home, status, size, head of the ledger, lag, last backup.

    Examples:
        freehold tenants show acme
    """
    with managing(as_json=as_json) as manager:
        found = manager.get("tenants", tenant)
    _write(found, as_json=as_json)


@app.command("limit")
def limit(
    tenant: TenantId,
    events_per_s: Annotated[
        int | None, typer.Option(min=1, help="Events accepted in a second.")
    ] = None,
    requests_max: Annotated[
        int | None, typer.Option(min=1, help="Requests handled at once.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Limit what each process of ingest accepts from a tenant.

    A limit that is left out is that of ingest's settings.

    Examples:
        freehold tenants limit acme --events-per-s 500 --requests-max 20
        freehold tenants limit acme
    """
    limits = {"events_per_s": events_per_s, "requests_max": requests_max}
    with managing(as_json=as_json) as manager:
        found = manager.put("tenants", tenant, "limits", body=limits)
    _write(found, as_json=as_json)


@app.command("suspend")
def suspend(tenant: TenantId, as_json: AsJson = False) -> None:
    """Suspend a tenant: their requests are refused until they are resumed.

    Examples:
        freehold tenants suspend acme
    """
    with managing(as_json=as_json) as manager:
        found = manager.post("tenants", tenant, "suspend")
    _write(found, as_json=as_json)


@app.command("resume")
def resume(tenant: TenantId, as_json: AsJson = False) -> None:
    """Resume a suspended tenant.

    Examples:
        freehold tenants resume acme
    """
    with managing(as_json=as_json) as manager:
        found = manager.post("tenants", tenant, "resume")
    _write(found, as_json=as_json)


@app.command("delete")
def delete(
    tenant: TenantId, confirm: Confirm = None, no_wait: NoWait = False, as_json: AsJson = False
) -> None:
    """Delete a tenant: a final export and backup first, then their keys, roles and database.

    Their id must be typed again.

    Examples:
        freehold tenants delete acme --confirm acme
    """
    require_confirmation(tenant, confirm, f"delete {tenant} with their ledger and keys")
    with managing(as_json=as_json) as manager:
        operation = manager.delete("tenants", tenant, params={"confirm": tenant})
        finish(manager, operation, no_wait=no_wait, as_json=as_json)


def _write(tenant: Document, *, as_json: bool) -> None:
    if as_json:
        write_json(tenant)
        return
    home = tenant["home"]
    head = tenant.get("head") or {}
    lag = tenant.get("lag") or {}
    reconciliation = tenant.get("reconciliation") or {}
    limits = tenant["limits"]
    backup = tenant.get("last_backup") or {}
    write_facts(
        {
            "tenant": tenant["tenant_id"],
            "name": tenant["name"],
            "status": tenant["status"],
            "created": shown_time(tenant["created_at"]),
            "deleted": shown_time(tenant.get("deleted_at")),
            "region": f"{home['region']}, cluster {home['cluster']}",
            "database": home["database"],
            "isolation": tenant["isolation"],
            "schema_version": tenant["schema_version"],
            "epoch": tenant["epoch"],
            "size": shown_size(tenant.get("size_bytes")),
            "events": head.get("seq"),
            "last_event": shown_time(head.get("recorded_at")),
            "head_hash": head.get("hash"),
            "events_behind": lag.get("events_behind"),
            "reconciled": shown_time(reconciliation.get("reconciled_at")),
            "findings": reconciliation.get("findings") or None,
            "last_backup": shown_time(backup.get("created_at")),
            "events_per_s_max": limits["events_per_s"],
            "requests_max": limits["requests_max"],
        }
    )
