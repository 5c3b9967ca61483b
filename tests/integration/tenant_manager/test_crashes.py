"""A process may die before any statement it sends. Here it does so before every one, in turn."""

import asyncio
from collections.abc import Coroutine
from itertools import count
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from freehold.ledger.schema import LEDGER_VERSION
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.contracts.tenants import NewTenant
from freehold_tenant_manager.http.components import Components
from freehold_tenant_manager.metrics import TENANTS_UNDONE
from freehold_tenant_manager.migrations.ledger_migration import LedgerMigration, Migrated
from freehold_tenant_manager.provisioning.provisioner import Provisioner
from freehold_tenant_manager.server.server import Server
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.crashes import Crash, dies
from integration.tenant_manager.databases import exists, is_complete
from integration.tenant_manager.installation import KEY_RING, Installation, new_tenant
from support.releases import EarlierRelease

DEADLINE_S = 10
MIGRATION_STATEMENTS_MAX = 60


async def test_an_interrupted_creation_is_completed_by_the_same_request(
    replica_parts: Components, manager: httpx.AsyncClient, installation: Installation
) -> None:
    for statements in count():
        wanted = new_tenant()
        created = replica_parts.find(Provisioner).create(NewTenant(**wanted))
        if not await dies(created, statements):
            break
        shown = await manager.get(f"/v1/tenants/{wanted['tenant_id']}")
        was_active = shown.status_code == 200 and shown.json()["status"] == "active"
        answer = await manager.post("/v1/tenants", json=wanted)
        assert answer.status_code == (200 if was_active else 201), statements
        assert ("api_key" in answer.json()) is not was_active
        home = answer.json()["tenant"]["home"]["database"]
        assert await is_complete(installation, home)
        listed = await manager.get(f"/v1/tenants/{wanted['tenant_id']}/api-keys")
        assert len(listed.json()["data"]) == 1
    assert statements > 20


async def test_an_interrupted_and_abandoned_creation_leaves_nothing(
    replica_parts: Components, installation: Installation
) -> None:
    for statements in count():
        wanted = new_tenant()
        if not await dies(replica_parts.find(Provisioner).create(NewTenant(**wanted)), statements):
            break
        tenant_id = wanted["tenant_id"]
        home = await replica_parts.find(Catalog).fetchrow(
            "SELECT database_name, status FROM tenants WHERE tenant_id = $1", tenant_id
        )
        if home is None:
            continue
        await _undo(replica_parts)
        if home["status"] == "active":
            assert await is_complete(installation, home["database_name"])
        else:
            assert await _left_of(replica_parts, installation, tenant_id, home[0]) == set()
    assert statements > 20


async def test_an_interrupted_undoing_continues_later(
    replica_parts: Components, installation: Installation
) -> None:
    undone_before = TENANTS_UNDONE._value.get()
    for statements in count():
        wanted = new_tenant()
        tenant_id = wanted["tenant_id"]
        await _make_all_but_active(replica_parts, wanted)
        home: str = (
            await replica_parts.find(Catalog).fetch(
                "SELECT database_name FROM tenants WHERE tenant_id = $1", tenant_id
            )
        )[0][0]
        assert await _left_of(replica_parts, installation, tenant_id, home) >= {home}
        died = await dies(replica_parts.find(Provisioner).undo_if_abandoned(tenant_id), statements)
        await _undo(replica_parts)
        assert await _left_of(replica_parts, installation, tenant_id, home) == set()
        if not died:
            break
    assert statements > 10
    assert TENANTS_UNDONE._value.get() > undone_before


async def test_an_interrupted_migration_is_completed_by_the_next(
    replica_parts: Components, installation: Installation, settings: Settings
) -> None:
    earlier = EarlierRelease(
        installation.server_url, settings.catalog_name, installation.role, KEY_RING, None
    )
    server = Server(
        settings.catalog_dsn.get_secret_value(), connect_timeout_s=5, statement_timeout_s=30
    )
    ledgers = LedgerMigration(server, KEY_RING, lock_timeout_s=5, timeout_s=30)
    lefts = iter(await earlier.leave(MIGRATION_STATEMENTS_MAX))
    for statements in count():
        left = next(lefts)

        async def migrate(tenant_id: str = left.tenant_id) -> Migrated:
            async with replica_parts.find(Catalog).connection() as connection:
                return await ledgers.migrate(connection, tenant_id, "after")

        died = await dies(migrate(), statements)
        async with asyncio.timeout(DEADLINE_S):
            # The server may take a while to see that one died, who held the tenant's lock.
            while await migrate() is not Migrated.DONE:
                pass
        assert await is_complete(installation, left.database), statements
        assert await replica_parts.find(Catalog).fetch(
            "SELECT FROM tenants WHERE tenant_id = $1 AND schema_version = $2",
            left.tenant_id,
            LEDGER_VERSION,
        )
        if not died:
            break
    assert statements > 20


async def test_an_interrupted_creation_may_be_repeated_with_other_settings(
    replica_parts: Components, manager: httpx.AsyncClient, installation: Installation
) -> None:
    wanted = new_tenant()
    await _make_all_but_active(replica_parts, wanted)
    shown = (await manager.get(f"/v1/tenants/{wanted['tenant_id']}")).json()
    assert shown["status"] == "provisioning"
    assert shown["head"] is None
    answer = await manager.post("/v1/tenants", json=wanted | {"name": "Another"})
    assert answer.status_code == 201
    assert answer.json()["tenant"]["name"] == "Another"
    assert not await exists(installation, shown["home"]["database"])


async def test_a_creation_that_an_earlier_release_began_starts_again(
    replica_parts: Components, manager: httpx.AsyncClient, installation: Installation
) -> None:
    wanted = new_tenant()
    await _make_all_but_active(replica_parts, wanted)
    begun: str = (
        await replica_parts.find(Catalog).fetch(
            "UPDATE tenants SET schema_version = $2 WHERE tenant_id = $1 RETURNING database_name",
            wanted["tenant_id"],
            LEDGER_VERSION - 1,
        )
    )[0][0]
    async with installation.superuser(begun) as superuser:
        await superuser.execute(
            "DELETE FROM ledger.schema_migrations WHERE version = $1", LEDGER_VERSION
        )
    answer = await manager.post("/v1/tenants", json=wanted)
    assert answer.status_code == 201
    made = answer.json()["tenant"]
    async with installation.superuser(made["home"]["database"]) as superuser:
        version = await superuser.fetchval("SELECT max(version) FROM ledger.schema_migrations")
    assert made["schema_version"] == version == LEDGER_VERSION
    assert not await exists(installation, begun)


async def test_a_tenant_in_the_making_has_no_keys_yet(
    replica_parts: Components, manager: httpx.AsyncClient
) -> None:
    wanted = new_tenant()
    await _make_all_but_active(replica_parts, wanted)
    path = f"/v1/tenants/{wanted['tenant_id']}/api-keys"
    answer = await manager.post(path, json={"scopes": ["read"]})
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert (await manager.get(path)).json()["data"] == []
    await _undo(replica_parts)


async def test_a_creation_that_cannot_be_undone_does_not_stop_other_undoing(
    replica_parts: Components, installation: Installation
) -> None:
    first, second = new_tenant(), new_tenant()
    for wanted in (first, second):
        await _make_all_but_active(replica_parts, wanted)
    catalog = replica_parts.find(Catalog)
    stuck: str = (
        await catalog.fetch(
            "SELECT database_name FROM tenants WHERE tenant_id = $1", first["tenant_id"]
        )
    )[0][0]

    async def unfinished() -> set[str]:
        rows = await catalog.fetch("SELECT tenant_id FROM tenants WHERE status = 'provisioning'")
        return {row[0] for row in rows}

    async with installation.superuser() as superuser:
        # No database that is a template can be dropped.
        await superuser.execute(f"ALTER DATABASE {stuck} IS_TEMPLATE true")
        async with asyncio.timeout(DEADLINE_S):
            while second["tenant_id"] in await unfinished():
                await replica_parts.find(Provisioner).undo_abandoned(0)
        assert await unfinished() == {first["tenant_id"]}
        await superuser.execute(f"ALTER DATABASE {stuck} IS_TEMPLATE false")
    await _undo(replica_parts)


async def test_a_tenants_database_that_fails_is_named(
    replica_parts: Components, manager: httpx.AsyncClient, installation: Installation
) -> None:
    wanted = new_tenant()
    await _make_all_but_active(replica_parts, wanted)
    path = f"/v1/tenants/{wanted['tenant_id']}"
    home = (await manager.get(path)).json()["home"]["database"]
    async with installation.superuser() as superuser:
        await superuser.execute(f"ALTER DATABASE {home} CONNECTION LIMIT 0")
        answer = await manager.post("/v1/tenants", json=wanted)
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert answer.json()["detail"].startswith("the tenant's database")
        await superuser.execute(f"ALTER DATABASE {home} CONNECTION LIMIT -1")
    assert (await manager.post("/v1/tenants", json=wanted)).status_code == 201


async def test_what_is_being_worked_on_is_not_undone(
    replica_parts: Components, manager: httpx.AsyncClient, app: FastAPI
) -> None:
    wanted = [new_tenant() for _ in range(4)]
    creations = asyncio.gather(*(manager.post("/v1/tenants", json=one) for one in wanted))
    while not creations.done():
        await replica_parts.find(Provisioner).undo_abandoned(0)
    assert {answer.status_code for answer in await creations} == {201}


async def _make_all_but_active(manager: Components, wanted: dict[str, Any]) -> None:
    async def die(*_: Any) -> None:
        raise Crash

    provisioner = manager.find(Provisioner)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provisioner, "_activate", die)
        with pytest.raises(Crash):
            await asyncio.create_task(_awaited(provisioner.create(NewTenant(**wanted))))


async def _awaited(work: Coroutine[Any, Any, Any]) -> None:
    await work


async def _undo(manager: Components) -> None:
    """Undo until nothing is left to undo: the server may take a while to see that one died."""
    async with asyncio.timeout(DEADLINE_S):
        while await manager.find(Catalog).fetch(
            "SELECT FROM tenants WHERE status = 'provisioning'"
        ):
            await manager.find(Provisioner).undo_abandoned(0)


async def _left_of(
    manager: Components, installation: Installation, tenant_id: str, home: str
) -> set[str]:
    """Name what there is of a tenant."""
    tables = ("tenants", "api_keys", "reconciliations")
    found = {
        table
        for table in tables
        if await manager.find(Catalog).fetch(f"SELECT FROM {table} WHERE tenant_id = $1", tenant_id)
    }
    if await manager.find(Catalog).fetch("SELECT FROM credentials WHERE database_name = $1", home):
        found.add("credentials")
    async with installation.superuser() as superuser:
        rows = await superuser.fetch(
            "SELECT datname FROM pg_database WHERE datname = $1"
            " UNION ALL SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1 || '_')",
            home,
        )
    return found | {row[0] for row in rows}
