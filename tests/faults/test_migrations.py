"""Ledgers migrated under traffic, and by a tenant-manager that dies over it."""

import asyncio
import signal

import httpx

from freehold.ledger.schema import LEDGER_MIGRATIONS, LEDGER_VERSION, Migration
from freehold.security.sealing import KeyRing
from freehold_tenant_manager.migration.ledger_migration import LedgerMigration, Migrated
from freehold_tenant_manager.server import Server
from support.clients import Document, Tenant
from support.machine import CATALOG_DATABASE, Machine
from support.releases import earlier_release_of
from support.waiting import eventually

FIRST_RELEASE = 5
LEFT_BEHIND = 24
SILENT_S = 15

# What a next release may do to tables that this one's services write to and read.
NEXT_RELEASE = [
    *LEDGER_MIGRATIONS,
    Migration(
        LEDGER_VERSION + 1,
        "notes",
        "CREATE TABLE notes (event_id uuid PRIMARY KEY, note text NOT NULL);"
        "ALTER TABLE account_balances ADD COLUMN note text;",
    ),
    Migration(
        LEDGER_VERSION + 2,
        "head",
        "ALTER TABLE ledger_head ADD COLUMN note text;"
        "ALTER FUNCTION make_partitions(timestamptz) COST 200;",
    ),
    Migration(
        LEDGER_VERSION + 3,
        "events",
        "ALTER TABLE ledger_events ADD COLUMN note text;"
        "CREATE INDEX ledger_events_note_idx ON ledger_events (note) WHERE note IS NOT NULL;",
    ),
]


async def test_services_of_this_release_go_on_while_the_next_one_migrates(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    acknowledged: dict[str, list[Document]] = {tenant.tenant_id: [], other_tenant.tenant_id: []}
    over = asyncio.Event()

    async def append(of: Tenant) -> None:
        while not over.is_set():
            key = f"{of.tenant_id}-{len(acknowledged[of.tenant_id])}"
            acknowledged[of.tenant_id].append(await of.append(metadata={"key": key}))

    async def read(of: Tenant) -> int:
        reads = 0
        while not over.is_set():
            assert (await of.get("/accounts/cus_42/balances")).status_code in {200, 404}
            assert (await of.get("/events", limit=5)).status_code == 200
            reads += 1
        return reads

    async with asyncio.TaskGroup() as group:
        for one in (tenant, other_tenant):
            group.create_task(append(one))
            group.create_task(read(one))
        try:
            await asyncio.sleep(0.5)
            before = {name: len(events) for name, events in acknowledged.items()}
            await migrate_to_next_release(machine, tenant, other_tenant)
            await asyncio.sleep(0.5)
        finally:
            over.set()
    for one in (tenant, other_tenant):
        assert len(acknowledged[one.tenant_id]) > before[one.tenant_id]
        await machine.assert_whole(one, acknowledged[one.tenant_id])
        async with machine.catalog() as catalog:
            assert (
                await catalog.fetchval(
                    "SELECT schema_version FROM tenants WHERE tenant_id = $1", one.tenant_id
                )
                == LEDGER_VERSION + 3
            )


async def migrate_to_next_release(machine: Machine, *tenants: Tenant) -> None:
    """Do what the next release's tenant-manager would."""
    server = Server(
        machine.stack.env()["FREEHOLD_CATALOG_DSN"], connect_timeout_s=5, statement_timeout_s=30
    )
    ledgers = LedgerMigration(
        server,
        KeyRing(machine.stack.credential_keys),
        lock_timeout_s=1,
        timeout_s=30,
        migrations=NEXT_RELEASE,
    )
    for tenant in tenants:
        async with server.connection(CATALOG_DATABASE, search_path="catalog") as catalog:
            outcome = await ledgers.migrate(catalog, tenant.tenant_id, "before")
            assert outcome is Migrated.DONE


async def test_a_migration_whose_process_was_killed_is_gone_on_with(machine: Machine) -> None:
    earlier = earlier_release_of(machine.stack, FIRST_RELEASE)
    lefts = await earlier.leave(LEFT_BEHIND)
    names = [left.tenant_id for left in lefts]
    answer = await machine.freehold.manage("POST", "/migrations", {"tenants": names})
    assert answer.status_code == 202, answer.text
    operation = f"/operations/{answer.json()['operation_id']}"
    async with machine.catalog() as catalog:

        async def begun() -> bool:
            migrated: int = await catalog.fetchval(
                "SELECT count(*) FROM tenant_migrations"
                " WHERE tenant_id = ANY ($1) AND status = 'succeeded'",
                names,
            )
            return migrated >= 2

        await eventually(begun, "some are migrated", every_s=0.005)
        await machine.replace("tenant-manager", signal.SIGKILL)
        behind = await catalog.fetchval(
            "SELECT count(*) FROM tenants WHERE tenant_id = ANY ($1) AND schema_version < $2",
            names,
            LEDGER_VERSION,
        )
    assert 0 < behind < LEFT_BEHIND

    async def ended() -> Document | None:
        try:
            shown: Document = (await machine.freehold.manage("GET", operation)).json()
        except httpx.TransportError:
            return None
        return shown if shown["status"] in {"succeeded", "failed"} else None

    done = await eventually(ended, "the operation has ended", within_s=60 + SILENT_S)
    assert done["status"] == "succeeded", done
    assert done["result"]["tenants"] == LEFT_BEHIND
    async with machine.catalog() as catalog:
        versions = await catalog.fetch(
            "SELECT DISTINCT schema_version FROM tenants WHERE tenant_id = ANY ($1)", names
        )
        assert [row["schema_version"] for row in versions] == [LEDGER_VERSION]
        assert not await catalog.fetch(
            "SELECT FROM pg_auth_members WHERE regexp_replace(roleid::regrole::text, '_owner$', '')"
            " IN (SELECT database_name FROM tenants WHERE tenant_id = ANY ($1))",
            names,
        )
    for name in names[::6]:
        keys = await machine.freehold.manage(
            "POST", f"/tenants/{name}/api-keys", {"scopes": ["ingest", "read"]}
        )
        tenant = Tenant(machine.freehold, name, keys.json()["api_key"])
        assert (await tenant.append())["seq"] == 1
        await tenant.caught_up()
