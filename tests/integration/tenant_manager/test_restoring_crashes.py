"""A process may die anywhere in a restore: whoever goes on with it ends it well."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from freehold.ledger.schema import LEDGER_MIGRATIONS, LEDGER_SCHEMA, LEDGER_VERSION
from freehold_tenant_manager.catalog.credentials import new_passwords, seal_passwords
from freehold_tenant_manager.catalog.former_databases import add_making
from freehold_tenant_manager.catalog.operations import (
    ask_for_operation,
    claim_operation,
    end_operation,
)
from freehold_tenant_manager.migration.migrating import migrate
from freehold_tenant_manager.operations import OperationLostError, Running
from freehold_tenant_manager.parts import Parts
from freehold_tenant_manager.provisioning.tenant_databases import new_database_name
from freehold_tenant_manager.restore.beside import Beside
from freehold_tenant_manager.server import Server
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.crashing import dies, make_mortal
from integration.tenant_manager.installation import Installation, manager_of
from integration.tenant_manager.test_restoring import (
    KEY_RING,
    amounts,
    back_up,
    former_databases,
    grow,
    made,
    of,
    restored,
    text,
)

STEP = 9
"""Not before every statement: there are more than a hundred, and each costs a restore."""


@asynccontextmanager
async def claimed(parts: Parts, tenant_id: str, wanted: dict[str, Any]) -> AsyncIterator[Any]:
    """Have an operation that no running tenant-manager knows how to do, and workers for it."""
    kind, worker = f"restore-{uuid.uuid4().hex}", uuid.uuid4()
    async with parts.catalog.connection() as connection:
        row = await ask_for_operation(connection, kind, tenant_id, wanted)
        assert await claim_operation(connection, worker, [kind], 15) is not None
    yield lambda: _running(parts, worker, row.operation_id)
    async with parts.catalog.connection() as connection:
        await end_operation(connection, worker, row.operation_id, message="", result={})


async def _running(parts: Parts, worker: UUID, operation_id: UUID) -> Running:
    from freehold_tenant_manager.catalog.operations import find_operation

    async with parts.catalog.connection() as connection:
        row = await find_operation(connection, operation_id)
    assert row is not None
    return Running(parts.catalog, worker, row)


async def drop_formers(manager: httpx.AsyncClient, tenant_id: str) -> list[str]:
    """Drop what is beside a tenant's own database; give the names."""
    names = [row["name"] for row in await former_databases(manager, tenant_id)]
    for name in names:
        path = f"/v1/tenants/{tenant_id}/former-databases/{name}"
        assert (await manager.delete(path)).status_code == 204
    return names


@pytest.fixture(autouse=True)
def mortal(monkeypatch: pytest.MonkeyPatch) -> None:
    make_mortal(monkeypatch)


@pytest.mark.parametrize(("epochs", "step"), [(1, STEP), (2, 3 * STEP)])
async def test_a_restore_cut_short_anywhere_is_ended_by_another(
    app: FastAPI,
    replica: FastAPI,
    manager: httpx.AsyncClient,
    installation: Installation,
    epochs: int,
    step: int,
) -> None:
    parts, others = manager_of(replica).parts, manager_of(app).parts
    tenant_id = await made(manager)
    await grow(others, tenant_id, of(1))
    await back_up(manager, tenant_id)
    instant = await grow(others, tenant_id, of(2))
    await grow(others, tenant_id, of(3))
    expected = [1, 2]
    if epochs == 2:
        # From then on event 3 is another one than the segment of the first epoch has.
        await restored(manager, tenant_id, to=text(instant))
        await drop_formers(manager, tenant_id)
        instant = await grow(others, tenant_id, of(30))
        await grow(others, tenant_id, of(40))
        expected.append(30)
    wanted = {"to": text(instant), "backup_id": None, "preview": False}
    statements = 0
    died = True
    while died:
        async with claimed(parts, tenant_id, wanted) as running:
            died = await dies(parts.restoration.restorer.restore(await running()), statements)
            result = await others.restoration.restorer.restore(await running())
        assert result["head_seq"] == len(expected), statements
        assert await amounts(others, tenant_id) == expected, statements
        assert await former_kinds(manager, tenant_id) == ["former"], statements
        (dropped,) = await drop_formers(manager, tenant_id)
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
    parts = manager_of(app).parts
    tenant_id = await made(manager)
    wanted = {"to": text(await grow(parts, tenant_id, of(1))), "backup_id": None, "preview": False}
    server = Server(
        settings.catalog_dsn.get_secret_value(), connect_timeout_s=5, statement_timeout_s=30
    )
    beside = Beside(parts.catalog, server)
    name, passwords = new_database_name(), new_passwords()
    async with claimed(parts, tenant_id, wanted) as running:
        begun = await running()
        async with parts.catalog.connection() as connection:
            credentials = seal_passwords(KEY_RING, name, passwords)
            await add_making(connection, name, credentials, tenant_id, 2, begun.operation_id)
        await beside.make(name, passwords, empty=True)
        async with beside.as_owner(name, timeout_s=30) as ledger:
            await migrate(ledger, LEDGER_MIGRATIONS[:-1], LEDGER_SCHEMA)
        await begun.note(0.4, "", database=name, based=True)
        result = await parts.restoration.restorer.restore(await running())
    assert result["database"] == name
    assert await amounts(parts, tenant_id) == [1]
    async with installation.superuser(name) as superuser:
        version = await superuser.fetchval("SELECT max(version) FROM ledger.schema_migrations")
    shown = (await manager.get(f"/v1/tenants/{tenant_id}")).json()
    assert shown["schema_version"] == version == LEDGER_VERSION


async def test_a_process_that_was_taken_for_dead_swaps_nothing(
    app: FastAPI, manager: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = manager_of(app).parts
    tenant_id = await made(manager)
    wanted = {"to": text(await grow(parts, tenant_id, of(1))), "backup_id": None, "preview": False}
    fence, successor = Beside.fence, uuid.uuid4()
    async with claimed(parts, tenant_id, wanted) as running:
        first = await running()

        async def fence_and_stall(beside: Beside, name: str) -> None:
            await fence(beside, name)
            await parts.catalog.execute(
                "UPDATE operations SET worker = $2 WHERE operation_id = $1",
                first.operation_id,
                successor,
            )

        with monkeypatch.context() as patched:
            patched.setattr(Beside, "fence", fence_and_stall)
            with pytest.raises(OperationLostError):
                await parts.restoration.restorer.restore(first)
        assert await former_kinds(manager, tenant_id) == ["making"]
        # The services are in again.
        await grow(parts, tenant_id, of(2))
        second = await _running(parts, successor, first.operation_id)
        await parts.restoration.restorer.restore(second)
        async with parts.catalog.connection() as connection:
            await end_operation(connection, successor, first.operation_id, message="", result={})
    assert await amounts(parts, tenant_id) == [1]
    assert await former_kinds(manager, tenant_id) == ["former"]


async def former_kinds(manager: httpx.AsyncClient, tenant_id: str) -> list[str]:
    return [row["kind"] for row in await former_databases(manager, tenant_id)]
