"""A process may die anywhere in a restore: another one completes it."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from freehold.database.leases import LeaseLostError
from freehold.ledger.schema import LEDGER_VERSION
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.credentials.store import find_passwords
from freehold_tenant_manager.http.components import Components
from freehold_tenant_manager.operations.operations import Running
from freehold_tenant_manager.operations.store import (
    ask_for_operation,
    claim_operation,
    end_operation,
)
from freehold_tenant_manager.provisioning.tenant_databases import new_database_name
from freehold_tenant_manager.restore.restore_databases import RestoreDatabases
from freehold_tenant_manager.restore.restorer import Restorer
from freehold_tenant_manager.restore.retired_databases import register_database
from freehold_tenant_manager.server.server import Server
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.crashes import dies
from integration.tenant_manager.installation import KEY_RING, Installation, components_of
from integration.tenant_manager.restorable import RestorableTenant

STEP = 9
"""Not before every statement: there are more than a hundred, and each costs a restore."""


@asynccontextmanager
async def claimed(parts: Components, tenant_id: str, wanted: dict[str, Any]) -> AsyncIterator[Any]:
    """Have an operation that no running tenant-manager knows how to do, and workers for it."""
    kind, worker = f"restore-{uuid.uuid4().hex}", uuid.uuid4()
    async with parts.find(Catalog).connection() as connection:
        row = await ask_for_operation(connection, kind, tenant_id, wanted)
        assert await claim_operation(connection, worker, [kind], 15) is not None
    yield lambda: _running(parts, worker, row.operation_id)
    async with parts.find(Catalog).connection() as connection:
        await end_operation(connection, worker, row.operation_id, message="", result={})


async def _running(parts: Components, worker: UUID, operation_id: UUID) -> Running:
    from freehold_tenant_manager.operations.store import find_operation

    async with parts.find(Catalog).connection() as connection:
        row = await find_operation(connection, operation_id)
    assert row is not None
    return Running(parts.find(Catalog), worker, row)


async def drop_retired(tenant: RestorableTenant) -> list[str]:
    """Drop a tenant's retired databases; give the names."""
    names = [row["name"] for row in await tenant.retired()]
    for name in names:
        assert (await tenant.drop_retired(name)).status_code == 204
    return names


@pytest.mark.parametrize(("epochs", "step"), [(1, STEP), (2, 3 * STEP)])
async def test_an_interrupted_restore_is_completed_by_another_process(
    app: FastAPI,
    replica: FastAPI,
    manager: httpx.AsyncClient,
    installation: Installation,
    epochs: int,
    step: int,
) -> None:
    parts, others = components_of(replica), components_of(app)
    tenant = await RestorableTenant.make(others, manager, installation)
    await tenant.grow(1)
    await tenant.back_up()
    instant = await tenant.grow(2)
    await tenant.grow(3)
    expected = [1, 2]
    if epochs == 2:
        # From then on event 3 is another one than the segment of the first epoch has.
        await tenant.restored(to=instant)
        await drop_retired(tenant)
        instant = await tenant.grow(30)
        await tenant.grow(40)
        expected.append(30)
    wanted = {"to": instant.isoformat(), "backup_id": None, "preview": False}
    statements = 0
    died = True
    while died:
        async with claimed(parts, tenant.tenant_id, wanted) as running:
            died = await dies(parts.find(Restorer).restore(await running()), statements)
            result = await others.find(Restorer).restore(await running())
        assert result["head_seq"] == len(expected), statements
        assert await tenant.amounts() == expected, statements
        assert await retired_kinds(tenant) == ["former"], statements
        (dropped,) = await drop_retired(tenant)
        async with installation.superuser() as superuser:
            left = await superuser.fetchval(
                "SELECT count(*) FROM pg_roles WHERE rolname LIKE $1 || '%'", dropped
            )
        assert left == 0
        statements += step
    assert statements > 60


async def test_a_restore_that_an_earlier_release_began_ends_with_a_ledger_of_this_one(
    app: FastAPI, manager: httpx.AsyncClient, installation: Installation, settings: Settings
) -> None:
    parts = components_of(app)
    tenant = await RestorableTenant.make(parts, manager, installation)
    instant = await tenant.grow(1)
    wanted = {"to": instant.isoformat(), "backup_id": None, "preview": False}
    server = Server(
        settings.catalog_dsn.get_secret_value(), connect_timeout_s=5, statement_timeout_s=30
    )
    databases = RestoreDatabases(parts.find(Catalog), server)
    name = new_database_name()
    async with claimed(parts, tenant.tenant_id, wanted) as running:
        begun = await running()
        async with parts.find(Catalog).connection() as connection:
            await register_database(
                connection, KEY_RING, name, tenant.tenant_id, 2, begun.operation_id
            )
            passwords = await find_passwords(connection, KEY_RING, name)
        await databases.make(name, passwords, empty=True)
        await begun.save(0.4, "", database=name, based=True)
        result = await parts.find(Restorer).restore(await running())
    assert result["database"] == name
    assert await tenant.amounts() == [1]
    async with installation.superuser(name) as superuser:
        version = await superuser.fetchval("SELECT max(version) FROM ledger.schema_migrations")
    shown = await tenant.shown()
    assert shown["schema_version"] == version == LEDGER_VERSION


async def test_a_process_declared_dead_swaps_no_database(
    app: FastAPI,
    manager: httpx.AsyncClient,
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = components_of(app)
    tenant = await RestorableTenant.make(parts, manager, installation)
    instant = await tenant.grow(1)
    wanted = {"to": instant.isoformat(), "backup_id": None, "preview": False}
    fence, successor = RestoreDatabases.fence, uuid.uuid4()
    async with claimed(parts, tenant.tenant_id, wanted) as running:
        first = await running()

        async def fence_and_stall(databases: RestoreDatabases, name: str) -> None:
            await fence(databases, name)
            await parts.find(Catalog).execute(
                "UPDATE operations SET leased_by = $2 WHERE operation_id = $1",
                first.operation_id,
                successor,
            )

        with monkeypatch.context() as patched:
            patched.setattr(RestoreDatabases, "fence", fence_and_stall)
            with pytest.raises(LeaseLostError):
                await parts.find(Restorer).restore(first)
        assert await retired_kinds(tenant) == ["making"]
        # The services are in again.
        await tenant.grow(2)
        second = await _running(parts, successor, first.operation_id)
        await parts.find(Restorer).restore(second)
        async with parts.find(Catalog).connection() as connection:
            await end_operation(connection, successor, first.operation_id, message="", result={})
    assert await tenant.amounts() == [1]
    assert await retired_kinds(tenant) == ["former"]


async def retired_kinds(tenant: RestorableTenant) -> list[str]:
    return [row["kind"] for row in await tenant.retired()]
