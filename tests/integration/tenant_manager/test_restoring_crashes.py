"""A process may die anywhere in a restore: whoever goes on with it ends it well."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from freehold_tenant_manager.catalog.operations import (
    ask_for_operation,
    claim_operation,
    end_operation,
)
from freehold_tenant_manager.operations import Running
from freehold_tenant_manager.parts import Parts
from integration.tenant_manager.crashing import dies, make_mortal
from integration.tenant_manager.installation import Installation, manager_of
from integration.tenant_manager.test_restoring import (
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
        kinds = [row["kind"] for row in await former_databases(manager, tenant_id)]
        assert kinds == ["former"], statements
        (dropped,) = await drop_formers(manager, tenant_id)
        async with installation.superuser() as superuser:
            left = await superuser.fetchval(
                "SELECT count(*) FROM pg_roles WHERE rolname LIKE $1 || '%'", dropped
            )
        assert left == 0
        statements += step
    assert statements > 60
