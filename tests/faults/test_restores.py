"""Archives and restores are cut short anywhere, and the live database is lost: nothing else is."""

import asyncio
import random
import signal
from datetime import UTC, datetime

from freehold_client.generated.models import Operation
from support.archive import is_archived
from support.clients import Tenant, event_body
from support.documents import Document
from support.machine import Machine

EVENTS = 10_000
BATCH = 1_000
SLOW_S = 150


async def begin_restore(tenant: Tenant, to: str) -> Operation:
    return await tenant.freehold.operator.restore_tenant(tenant.tenant_id, to=to)


async def end_of(tenant: Tenant, restore: Operation) -> Document:
    return await tenant.freehold.result_of(restore, within_s=SLOW_S)


async def gone(machine: Machine, tenant: Tenant) -> None:
    """Lose a tenant's database, also where sessions are connected to it."""
    async with machine.catalog() as catalog:
        name = await catalog.fetchval(
            "SELECT database_name FROM tenants WHERE tenant_id = $1", tenant.tenant_id
        )
        await catalog.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def event_ids(machine: Machine, tenant: Tenant) -> list[str]:
    async with machine.ledger(tenant) as ledger:
        proof = await ledger.fetchrow("SELECT * FROM verify()")
        assert proof is not None
        assert proof["ok"], proof["reason"]
        assert await ledger.fetch("SELECT * FROM reconcile()") == []
        rows = await ledger.fetch("SELECT event_id::text AS id FROM ledger_events ORDER BY seq")
    return [row["id"] for row in rows]


async def drop_formers(tenant: Tenant) -> None:
    operator, tenant_id = tenant.freehold.operator, tenant.tenant_id
    for former in [each async for each in operator.list_former_databases(tenant_id)]:
        await operator.drop_former_database(tenant_id, former.name, confirm=former.name)


def now() -> str:
    return datetime.now(UTC).isoformat()


async def test_events_are_archived_within_seconds(machine: Machine, tenant: Tenant) -> None:
    for seq in range(1, 4):
        await tenant.append()
        begun = asyncio.get_running_loop().time()
        await is_archived(machine, tenant, seq)
        assert asyncio.get_running_loop().time() - begun < 5
    assert await machine.metric("tenant-manager", "freehold_archived_segments_total") >= 3


async def test_what_was_acknowledged_is_restored_although_the_archiver_was_killed(
    machine: Machine, tenant: Tenant
) -> None:
    acknowledged: list[str] = []
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            acknowledged.append((await tenant.append()).event_id)

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        for _ in range(3):
            await asyncio.sleep(random.uniform(0.5, 1.5))
            await machine.replace("tenant-manager", signal.SIGKILL)
        stop.set()
    await is_archived(machine, tenant, len(acknowledged))
    await gone(machine, tenant)
    result = await end_of(tenant, await begin_restore(tenant, now()))
    assert result["head_seq"] == len(acknowledged)
    assert await event_ids(machine, tenant) == acknowledged
    # And all of it goes on, from what the services knew before.
    body = event_body()
    first = await tenant.post("/events", body, key="after")
    assert (await tenant.post("/events", body, key="after")).content == first.content
    await tenant.caught_up()
    await drop_formers(tenant)


async def test_a_restore_killed_at_any_step_completes_and_affects_no_other_tenant(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    for _ in range(EVENTS // BATCH):
        await tenant.append_batch([event_body() for _ in range(BATCH)])
    kept = await tenant.append(external_id="kept")
    instant = now()
    await asyncio.sleep(0.01)
    dropped = await tenant.append(external_id="dropped")
    await tenant.caught_up()
    before = (await event_ids(machine, tenant))[:-1]
    stop = asyncio.Event()
    neighbours = 0

    async def write() -> None:
        nonlocal neighbours
        while not stop.is_set():
            await other_tenant.append()
            neighbours += 1

    async with asyncio.TaskGroup() as group:
        group.create_task(write())
        restore = await begin_restore(tenant, instant)
        for _ in range(3):
            await asyncio.sleep(random.uniform(0.05, 1.5))
            await machine.replace("tenant-manager", signal.SIGKILL)
        result = await end_of(tenant, restore)
        stop.set()
    assert result["head_seq"] == EVENTS + 1
    assert await event_ids(machine, tenant) == before
    assert len(await event_ids(machine, other_tenant)) == neighbours
    assert before[-1] == kept.event_id
    # What is in the new database is what query answers, and ids are free and taken as then.
    assert (await tenant.get(f"/events/{dropped.event_id}")).status_code == 404
    assert (await tenant.post("/events", event_body(external_id="kept"))).status_code == 409
    again = await tenant.append(external_id="dropped")
    assert again.seq == EVENTS + 2
    await tenant.caught_up()
    async with machine.catalog() as catalog:
        kinds = await catalog.fetch(
            "SELECT kind FROM retired_databases WHERE tenant_id = $1", tenant.tenant_id
        )
    assert [row["kind"] for row in kinds] == ["former"]
    await drop_formers(tenant)
    async with machine.catalog() as catalog:
        left_over = await catalog.fetch(
            "SELECT datname FROM pg_database WHERE datname ~ '^fh_' AND datname NOT IN ("
            "  SELECT database_name FROM tenants WHERE status <> 'deleted'"
            "  UNION ALL SELECT database_name FROM pool_databases"
            " )"
        )
    assert left_over == []
