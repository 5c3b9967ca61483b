"""Ledgers migrated under traffic, and by a tenant-manager that dies over it."""

import asyncio
import signal
from dataclasses import replace

from freehold.ledger.schema import LEDGER_SOURCE, LEDGER_VERSION, Migration
from freehold.security.key_ring import KeyRing
from freehold_client.generated.models import LedgerEvent
from freehold_tenant_manager.migrations.ledger_migration import LedgerMigration, Migrated
from freehold_tenant_manager.server.server import Server
from support.clients import Tenant
from support.machine import CATALOG_DATABASE, Machine
from support.releases import earlier_release_of
from support.waiting import eventually

LEFT_BEHIND = 24
SILENT_S = 15

# What a next release may do to tables that this one's services write to and read.
NEXT_RELEASE = [
    *LEDGER_SOURCE.migrations,
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


async def test_services_of_this_release_work_while_the_next_one_migrates(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    acknowledged: dict[Tenant, list[LedgerEvent]] = {tenant: [], other_tenant: []}
    over = asyncio.Event()

    async def append(of: Tenant) -> None:
        while not over.is_set():
            key = f"{of.tenant_id}-{len(acknowledged[of])}"
            acknowledged[of].append(await of.append(metadata={"key": key}))

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
            before = {one: len(events) for one, events in acknowledged.items()}
            await migrate_to_next_release(machine, tenant, other_tenant)
            await asyncio.sleep(0.5)
        finally:
            over.set()
    for one in (tenant, other_tenant):
        assert len(acknowledged[one]) > before[one]
        await machine.assert_whole(one, acknowledged[one])
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
        ledger=replace(LEDGER_SOURCE, migrations=tuple(NEXT_RELEASE)),
    )
    for tenant in tenants:
        async with server.connection(CATALOG_DATABASE, search_path="catalog") as catalog:
            outcome = await ledgers.migrate(catalog, tenant.tenant_id, "before")
            assert outcome is Migrated.DONE


async def test_a_migration_continues_after_its_process_was_killed(machine: Machine) -> None:
    earlier = earlier_release_of(machine.stack, None)
    lefts = await earlier.leave(LEFT_BEHIND)
    names = [left.tenant_id for left in lefts]
    operation = await machine.freehold.operator.migrate_ledgers(tenants=names)
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
    result = await machine.freehold.result_of(operation, within_s=60 + SILENT_S)
    assert result["tenants"] == LEFT_BEHIND
    async with machine.catalog() as catalog:
        versions = await catalog.fetch(
            "SELECT DISTINCT schema_version FROM tenants WHERE tenant_id = ANY ($1)", names
        )
        assert [row["schema_version"] for row in versions] == [LEDGER_VERSION]
        assert not await catalog.fetch(
            "SELECT FROM pg_auth_members WHERE regexp_replace(roleid::regrole::text, '_owner$', '')"
            " IN (SELECT database_name FROM tenants WHERE tenant_id = ANY ($1))"
            # Since PostgreSQL 16 a role's maker administers it, without being a member.
            " AND (NOT admin_option OR pg_has_role(member, roleid, 'USAGE'))",
            names,
        )
    for name in names[::6]:
        key = await machine.freehold.operator.create_api_key(name, scopes=["ingest", "read"])
        tenant = Tenant(machine.freehold, name, key.api_key)
        assert (await tenant.append()).seq == 1
        await tenant.caught_up()
