"""``freehold tenants suspend|resume|delete``, ``keys rotate`` and ``credentials``, as processes."""

import json

import asyncpg

from support.answers import found, problem
from support.clients import Freehold, Tenant, event_body
from support.commands import freehold as run
from support.waiting import eventually


async def test_a_tenant_is_suspended_and_resumed(tenant: Tenant, operator: dict[str, str]) -> None:
    await tenant.append()
    for _ in range(2):
        suspended = await run("tenants", "suspend", tenant.tenant_id, environment=operator)
        assert suspended.code == 0, suspended.err
    assert ["status", "suspended"] in [row.split() for row in suspended.out.splitlines()]

    async def refused() -> bool:
        return (await tenant.post("/events", event_body())).status_code == 403

    await eventually(refused, "the tenant is suspended")
    listed = await run("tenants", "list", "--status", "suspended", "--json", environment=operator)
    assert tenant.tenant_id in {each["tenant_id"] for each in json.loads(listed.out)["data"]}
    resumed = await run("tenants", "resume", tenant.tenant_id, "--json", environment=operator)
    assert resumed.code == 0, resumed.err
    assert json.loads(resumed.out)["status"] == "active"

    async def taken_in() -> bool:
        return (await tenant.post("/events", event_body())).status_code == 201

    await eventually(taken_in, "the tenant is resumed")


async def test_a_tenant_is_deleted_with_their_final_export_kept(
    freehold: Freehold, tenant: Tenant, operator: dict[str, str]
) -> None:
    event = await tenant.append()
    tenant_id = tenant.tenant_id
    deleted = await run(
        "tenants", "delete", tenant_id, "--confirm", tenant_id, environment=operator
    )
    assert deleted.code == 0, deleted.err
    problem(await tenant.post("/events", event_body()), "unauthorized")
    assert found(await freehold.manage("GET", f"/tenants/{tenant_id}"))["status"] == "deleted"
    export = await run("export", tenant_id, "-o", "-", environment=operator)
    assert export.code == 0, export.err
    assert event.event_id in export.out
    again = await run("tenants", "create", tenant_id, environment=operator)
    assert again.code == 3


async def test_a_key_is_rotated_with_an_overlap(tenant: Tenant, operator: dict[str, str]) -> None:
    key_id = tenant.api_key.split("_")[1]
    words = ("keys", "rotate", tenant.tenant_id, key_id)
    rotated = await run(*words, "--overlap", "1h", environment=operator)
    assert rotated.code == 0, rotated.err
    renewed = tenant.bearing(rotated.out.strip())
    await renewed.append()
    await tenant.append()
    assert key_id in rotated.err
    listed = await run("keys", "list", tenant.tenant_id, "--json", environment=operator)
    old, new = json.loads(listed.out)["data"]
    assert old["scopes"] == new["scopes"]
    assert old["expires_at"] is not None
    assert new["expires_at"] is None


async def test_the_customers_connection_string_is_printed_and_renewed(
    tenant: Tenant, operator: dict[str, str]
) -> None:
    await tenant.append()
    shown = await run("credentials", "show", tenant.tenant_id, environment=operator)
    assert shown.code == 0, shown.err
    dsn = shown.out.strip()
    assert await events_in(dsn) == 1
    rotated = await run(
        "credentials",
        "rotate",
        tenant.tenant_id,
        "--confirm",
        tenant.tenant_id,
        environment=operator,
    )
    assert rotated.code == 0, rotated.err
    await tenant.append()
    shown = await run("credentials", "show", tenant.tenant_id, "--json", environment=operator)
    renewed = json.loads(shown.out)["dsn"]
    assert renewed != dsn
    assert await events_in(renewed) == 2
    words = ("credentials", "rotate", tenant.tenant_id, "--service", "everything")
    assert (await run(*words, environment=operator)).code == 3


async def events_in(dsn: str) -> int:
    connection = await asyncpg.connect(dsn, timeout=10, command_timeout=10)
    try:
        count: int = await connection.fetchval("SELECT count(*) FROM ledger.ledger_events")
    finally:
        await connection.close(timeout=5)
    return count
