"""A deletion that is cut short anywhere goes on, and nothing goes before it is kept elsewhere."""

from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI

from freehold.contracts.problems import UNAVAILABLE, Problem
from freehold_tenant_manager.catalog.deletion import (
    FinalExport,
    begin_deletion,
    keep_final_export,
)
from freehold_tenant_manager.manager import Manager
from freehold_tenant_manager.operations import Running
from freehold_tenant_manager.storage import Storage, StorageError
from integration.tenant_manager.crashing import dies, make_mortal
from integration.tenant_manager.installation import Installation, manager_of, new_tenant
from integration.tenant_manager.ledgers import connection_of, filled_tenant
from support.restoration import psql

EVENTS = 200
# Each of them makes a backup, which takes a while: not before every statement, but all along.
STEP = 6


class Noted(Running):
    """An operation that is noted here alone."""

    def __init__(self, tenant_id: str) -> None:
        self.operation_id = uuid4()
        self.kind = "delete"
        self.tenant_id = tenant_id
        self.parameters = {}
        self.state = {}
        self.progress = 0.0

    async def note(self, progress: float, message: str, **state: Any) -> None:
        assert progress >= self.progress, message
        self.progress = progress
        self.state |= state


@pytest.fixture(autouse=True)
def mortal(monkeypatch: pytest.MonkeyPatch) -> None:
    make_mortal(monkeypatch)


@pytest.fixture
def mortal_manager(replica: FastAPI) -> Manager:
    return manager_of(replica)


async def test_what_is_left_is_the_whole_ledger(
    app: FastAPI,
    manager: httpx.AsyncClient,
    installation: Installation,
    mortal_manager: Manager,
    tmp_path: Path,
) -> None:
    tenant_id, _ = await filled_tenant(app, manager, events=EVENTS)
    async with connection_of(app, tenant_id, "auditor") as connection:
        before = await connection.fetchrow("SELECT * FROM verify()")
        balances = await connection.fetch("SELECT * FROM balances('{cus_1,cus_2}') ORDER BY 1, 2")
    result = await mortal_manager.parts.deletion.delete(Noted(tenant_id))
    async with mortal_manager.parts.catalog.connection() as catalog:
        assert await catalog.fetchval(
            "SELECT verified_at IS NOT NULL FROM backups WHERE backup_id = $1::text::uuid",
            result["backup_id"],
        )

    file = tmp_path / "export.sql"
    file.write_bytes((await manager.get(f"/v1/tenants/{tenant_id}/export")).content)
    name = f"export_{uuid4().hex}"
    async with installation.superuser() as superuser:
        await superuser.execute(f"CREATE DATABASE {name}")
    try:
        await psql(installation.url(name), file)
        async with installation.superuser(name) as connection:
            assert await connection.fetchrow("SELECT * FROM ledger.verify()") == before
            assert balances == await connection.fetch(
                "SELECT * FROM ledger.balances('{cus_1,cus_2}') ORDER BY 1, 2"
            )
            assert await connection.fetch("SELECT * FROM ledger.reconcile()") == []
    finally:
        async with installation.superuser() as superuser:
            await superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_deletion_cut_short_before_anything_went_goes_on(
    app: FastAPI, manager: httpx.AsyncClient, mortal_manager: Manager
) -> None:
    for statements in count(0, STEP):
        tenant_id, _ = await filled_tenant(app, manager, events=10)
        running = Noted(tenant_id)
        died = await dies(mortal_manager.parts.deletion.delete(running), statements)
        running.progress = 0.0
        await mortal_manager.parts.deletion.delete(running)
        assert await _left_of(mortal_manager, tenant_id) == {"tenant", "export", "backup"}
        if not died:
            break
    assert statements > STEP


async def test_a_removal_cut_short_anywhere_goes_on(
    manager: httpx.AsyncClient, mortal_manager: Manager
) -> None:
    for statements in count():
        wanted = new_tenant()
        tenant_id = wanted["tenant_id"]
        await manager.post("/v1/tenants", json=wanted)
        async with mortal_manager.parts.catalog.connection() as catalog:
            await begin_deletion(catalog, tenant_id)
            await keep_final_export(catalog, tenant_id, FinalExport("somewhere", 1, "", uuid4()))
        died = await dies(mortal_manager.parts.deletion.delete(Noted(tenant_id)), statements)
        # Whoever goes on may be another operation: the first one may have given up.
        await mortal_manager.parts.deletion.delete(Noted(tenant_id))
        assert await _left_of(mortal_manager, tenant_id) == {"tenant", "export"}
        if not died:
            break
    assert statements > 15


async def test_nothing_goes_while_the_storage_takes_nothing(
    app: FastAPI,
    manager: httpx.AsyncClient,
    mortal_manager: Manager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tenant_id, _ = await filled_tenant(app, manager, events=10)
    running = Noted(tenant_id)

    async def full(*_: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "put", full)
        with pytest.raises(Problem) as refused:
            await mortal_manager.parts.deletion.delete(running)
        assert refused.value.kind is UNAVAILABLE
        assert "the disk is full" in refused.value.detail
    shown = (await manager.get(f"/v1/tenants/{tenant_id}")).json()
    assert (shown["status"], shown["head"]["seq"]) == ("deleting", 10)
    running.progress = 0.0
    await mortal_manager.parts.deletion.delete(running)
    assert await _left_of(mortal_manager, tenant_id) == {"tenant", "export", "backup"}


async def test_a_tenant_whose_database_is_lost_is_left_to_be_restored(
    app: FastAPI,
    manager: httpx.AsyncClient,
    installation: Installation,
    mortal_manager: Manager,
) -> None:
    tenant_id, _ = await filled_tenant(app, manager, events=10)
    home = (await manager.get(f"/v1/tenants/{tenant_id}")).json()["home"]["database"]
    async with installation.superuser() as superuser:
        await superuser.execute(f"DROP DATABASE {home} WITH (FORCE)")
    with pytest.raises(Problem, match="restore it"):
        await mortal_manager.parts.deletion.delete(Noted(tenant_id))
    assert (await manager.get(f"/v1/tenants/{tenant_id}")).json()["status"] == "active"


async def _left_of(manager: Manager, tenant_id: str) -> set[str]:
    """What there still is of a tenant."""
    async with manager.parts.catalog.connection() as connection:
        row = await connection.fetchrow(
            "SELECT database_name, status FROM tenants WHERE tenant_id = $1", tenant_id
        )
        assert row is not None
        assert row["status"] == "deleted"
        rows = await connection.fetch(
            "SELECT 'tenant' FROM tenants WHERE tenant_id = $1"
            " UNION ALL SELECT 'export' FROM final_exports WHERE tenant_id = $1"
            " UNION ALL SELECT 'backup' FROM backups WHERE tenant_id = $1 AND status = 'complete'"
            " UNION ALL SELECT 'credentials' FROM tenant_credentials WHERE tenant_id = $1"
            " UNION ALL SELECT 'reconciliations' FROM reconciliations WHERE tenant_id = $1"
            " UNION ALL SELECT 'keys' FROM api_keys WHERE tenant_id = $1 AND revoked_at IS NULL"
            " UNION ALL SELECT 'database' FROM pg_database WHERE datname = $2"
            " UNION ALL SELECT rolname FROM pg_roles WHERE starts_with(rolname, $2 || '_')",
            tenant_id,
            row["database_name"],
        )
    return {row[0] for row in rows}
