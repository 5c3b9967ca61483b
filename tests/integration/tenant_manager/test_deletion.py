"""A deletion that is cut short anywhere goes on, and nothing goes before it is kept elsewhere."""

import asyncio
import os
import time
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from fastapi import FastAPI

from freehold.contracts.errors import DomainError, Unavailable
from freehold.database.leases import LeaseLostError
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.archive.archiver import Archiver
from freehold_tenant_manager.archive.compaction import Compaction
from freehold_tenant_manager.archive.retention import ArchiveRetention
from freehold_tenant_manager.backups.backups import Backups
from freehold_tenant_manager.backups.schedule import BackupSchedule
from freehold_tenant_manager.deletion.deletion import Deletion
from freehold_tenant_manager.deletion.store import begin_deletion
from freehold_tenant_manager.exports.final_exports import (
    FinalExport,
    find_final_export,
    keep_final_export,
)
from freehold_tenant_manager.http.components import Components
from freehold_tenant_manager.operations.operations import Operations, Running
from freehold_tenant_manager.recovery.shipper import Shipper
from freehold_tenant_manager.restore.retired_databases import RetiredDatabases
from freehold_tenant_manager.settings import Settings
from freehold_tenant_manager.storage.objects import Storage, StorageError, Stored
from freehold_tenant_manager.storage.pieces import pieces_of
from integration.tenant_manager.crashes import dies
from integration.tenant_manager.installation import Installation, database_of, make_tenant
from integration.tenant_manager.ledgers import append_some, connection_of, filled_tenant
from support.restoration import psql

EVENTS = 200
# Each of them makes a backup, which takes a while: not before every statement, but all along.
STEP = 6
# As the settings have it.
KEEP_DAYS = 30


class Noted(Running):
    """An operation that is noted here alone."""

    def __init__(self, tenant_id: str) -> None:
        self.operation_id = uuid4()
        self.kind = "delete"
        self.tenant_id = tenant_id
        self.parameters = {}
        self.state = {}
        self.progress = 0.0

    async def save(self, progress: float, message: str, **state: Any) -> None:
        assert progress >= self.progress, message
        self.progress = progress
        self.state |= state


@pytest.fixture
async def tenant_id(app: FastAPI, manager: httpx.AsyncClient) -> str:
    """A tenant with a few events."""
    return (await filled_tenant(app, manager, events=10))[0]


@pytest.fixture
def deletion(replica_parts: Components) -> Deletion:
    return replica_parts.find(Deletion)


async def test_what_is_left_is_the_whole_ledger(
    app: FastAPI,
    manager: httpx.AsyncClient,
    installation: Installation,
    replica_parts: Components,
    tmp_path: Path,
    deletion: Deletion,
) -> None:
    tenant_id, _ = await filled_tenant(app, manager, events=EVENTS)
    async with connection_of(app, tenant_id, "auditor") as connection:
        before = await connection.fetchrow("SELECT * FROM verify()")
        balances = await connection.fetch("SELECT * FROM balances('{cus_1,cus_2}') ORDER BY 1, 2")
    result = await deletion.delete(Noted(tenant_id))
    async with replica_parts.find(Catalog).connection() as catalog:
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
        await installation.drop_database(name)


async def test_a_session_that_is_just_connecting_is_locked_out(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch, tenant_id: str, deletion: Deletion
) -> None:
    fetch, looks = asyncpg.Connection.fetch, 0

    async def fetch_too_early(connection: Any, query: str, *arguments: Any, **named: Any) -> Any:
        nonlocal looks
        if "pg_terminate_backend" in query:
            looks += 1
            if looks == 1:
                return []
        return await fetch(connection, query, *arguments, **named)

    async def fails(*_: object) -> None:
        raise Unavailable("no backup today")

    async with connection_of(app, tenant_id, "ingest") as connection:
        monkeypatch.setattr(asyncpg.Connection, "fetch", fetch_too_early)
        monkeypatch.setattr(Backups, "make", fails)
        with pytest.raises(DomainError, match="no backup today"):
            await deletion.delete(Noted(tenant_id))
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await connection.execute("SELECT 1")
        connection.terminate()


async def test_a_deletion_interrupted_before_the_removal_continues(
    app: FastAPI, manager: httpx.AsyncClient, replica_parts: Components, deletion: Deletion
) -> None:
    for statements in count(0, STEP):
        tenant_id, _ = await filled_tenant(app, manager, events=10)
        running = Noted(tenant_id)
        died = await dies(deletion.delete(running), statements)
        running.progress = 0.0
        await deletion.delete(running)
        assert await _left_of(replica_parts, tenant_id) == {"tenant", "export", "backup"}
        if not died:
            break
    assert statements > STEP


async def test_a_final_export_is_complete_although_an_earlier_try_still_writes(
    manager: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, tenant_id: str, deletion: Deletion
) -> None:
    put, late, exports = Storage.put, asyncio.Event(), 0
    begun = asyncio.Event()

    async def put_late_at_first(storage: Storage, path: str, pieces: Any) -> Stored:
        nonlocal exports
        exports += "final-export" in path
        if "final-export" not in path or exports > 1:
            return await put(storage, path, pieces)
        read = [piece async for piece in pieces]
        begun.set()
        await late.wait()
        return await put(storage, path, pieces_of(b"".join(read)))

    class Lost(Noted):
        async def save(self, progress: float, message: str, **state: Any) -> None:
            if late.is_set():
                raise LeaseLostError
            await super().save(progress, message, **state)

    monkeypatch.setattr(Storage, "put", put_late_at_first)
    first, second = Lost(tenant_id), Noted(tenant_id)
    second.operation_id = first.operation_id
    stalled = asyncio.create_task(deletion.delete(first))
    await begun.wait()
    await deletion.delete(second)
    late.set()
    with pytest.raises(LeaseLostError):
        await stalled
    export = await manager.get(f"/v1/tenants/{tenant_id}/export")
    assert (export.status_code, "cus_9\t" in export.text) == (200, True)


async def test_leftovers_of_final_exports_are_removed(
    replica_parts: Components, monkeypatch: pytest.MonkeyPatch, tenant_id: str, deletion: Deletion
) -> None:

    async def fails(*_: object) -> None:
        raise Unavailable("somebody is still connected")

    with monkeypatch.context() as patched:
        patched.setattr(RetiredDatabases, "drop_all", fails)
        with pytest.raises(DomainError, match="still connected"):
            await deletion.delete(Noted(tenant_id))
    # Another operation: the first one has given up.
    await deletion.delete(Noted(tenant_id))
    (left,) = _stored(replica_parts, tenant_id).glob("final-exports/*")
    async with replica_parts.find(Catalog).connection() as catalog:
        found = await find_final_export(catalog, tenant_id)
    assert found is not None
    assert found.path.endswith(left.name)


async def test_an_interrupted_removal_continues(
    manager: httpx.AsyncClient, replica_parts: Components, deletion: Deletion
) -> None:
    for statements in count():
        tenant_id = await make_tenant(manager)
        async with replica_parts.find(Catalog).connection() as catalog:
            await begin_deletion(catalog, tenant_id)
            await keep_final_export(catalog, tenant_id, FinalExport("somewhere", 1, "", uuid4()))
        died = await dies(deletion.delete(Noted(tenant_id)), statements)
        # Whoever goes on may be another operation: the first one may have given up.
        await deletion.delete(Noted(tenant_id))
        assert await _left_of(replica_parts, tenant_id) == {"tenant", "export"}
        if not died:
            break
    assert statements > 15


async def test_nothing_is_removed_while_the_storage_fails(
    manager: httpx.AsyncClient,
    replica_parts: Components,
    monkeypatch: pytest.MonkeyPatch,
    tenant_id: str,
    deletion: Deletion,
) -> None:
    running = Noted(tenant_id)

    async def full(*_: object) -> None:
        raise StorageError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "put", full)
        with pytest.raises(DomainError) as refused:
            await deletion.delete(running)
        assert isinstance(refused.value, Unavailable)
        assert "the disk is full" in refused.value.detail
    shown = (await manager.get(f"/v1/tenants/{tenant_id}")).json()
    assert (shown["status"], shown["head"]["seq"]) == ("deleting", 10)
    running.progress = 0.0
    await deletion.delete(running)
    assert await _left_of(replica_parts, tenant_id) == {"tenant", "export", "backup"}


async def test_a_tenant_without_a_database_is_not_deleted(
    manager: httpx.AsyncClient, installation: Installation, tenant_id: str, deletion: Deletion
) -> None:
    await installation.drop_database(await database_of(manager, tenant_id))
    with pytest.raises(DomainError, match="restore it"):
        await deletion.delete(Noted(tenant_id))
    assert (await manager.get(f"/v1/tenants/{tenant_id}")).json()["status"] == "active"


async def test_backups_and_archive_are_removed_in_time_and_the_final_export_stays(
    app: FastAPI, manager: httpx.AsyncClient, replica_parts: Components
) -> None:
    tenant_id = await _deleted_with_an_archive(app, manager, replica_parts)
    kept = _stored(replica_parts, tenant_id)
    assert [len(list(kept.glob(f"1/{what}/*"))) for what in ("segments", "backups")] == [2, 1]
    before = sorted(kept.rglob("*"))
    await _age(replica_parts, tenant_id, KEEP_DAYS - 1)
    await _remove_old(replica_parts)
    assert sorted(kept.rglob("*")) == before
    assert await _known_of(replica_parts, tenant_id) == {"epoch", "backup", "export", "data key"}

    await _age(replica_parts, tenant_id, KEEP_DAYS + 1)
    await _remove_old(replica_parts)
    key_file, export_file = sorted(file for file in kept.rglob("*") if file.is_file())
    assert (key_file.name, export_file.parent.name) == ("data-key", "final-exports")
    assert await _known_of(replica_parts, tenant_id) == {"export", "data key"}
    export = await manager.get(f"/v1/tenants/{tenant_id}/export")
    assert (export.status_code, "cus_9\t" in export.text) == (200, True)
    shown = (await manager.get(f"/v1/tenants/{tenant_id}")).json()
    assert (shown["status"], shown["archive"], shown["last_backup"]) == ("deleted", None, None)


async def test_an_interrupted_removal_of_the_archive_continues(
    app: FastAPI,
    manager: httpx.AsyncClient,
    replica_parts: Components,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tenant_id = await _deleted_with_an_archive(app, manager, replica_parts)
    await _age(replica_parts, tenant_id, KEEP_DAYS + 1)
    retention = replica_parts.find(ArchiveRetention)
    segments = _stored(replica_parts, tenant_id) / "1/segments"
    delete = Storage.delete

    async def deletes_the_first(storage: Storage, path: str) -> None:
        if len(list(segments.iterdir())) == 1:
            raise StorageError("the disk is gone")
        await delete(storage, path)

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "delete", deletes_the_first)
        await retention.remove_old()
    seen = []
    died = True
    while died:
        is_known = "epoch" in await _known_of(replica_parts, tenant_id)
        seen.append((len(list(segments.iterdir())), is_known))
        died = await dies(retention.remove_old(), len(seen) - 1)
    # Between the last segment and the row, too, and never the other way round.
    assert list(dict.fromkeys(seen)) == [(1, True), (0, True), (0, False)]


async def _deleted_with_an_archive(
    app: FastAPI, manager: httpx.AsyncClient, replica_parts: Components
) -> str:
    """Delete a tenant of whom two segments, a backup and an export are left."""
    tenant_id, _ = await filled_tenant(app, manager, events=10)
    for _ in range(2):
        await replica_parts.find(Archiver).archive(tenant_id)
        await append_some(app, tenant_id, 10)
    await replica_parts.find(Deletion).delete(Noted(tenant_id))
    return tenant_id


async def _age(manager: Components, tenant_id: str, days: float) -> None:
    """Have a tenant deleted so long ago."""
    for change in (
        "tenants SET deleted_at = now() - $2::interval",
        "tenant_epochs SET started_at = now() - $2::interval - interval '1 day'",
        "backups SET created_at = now() - $2::interval",
    ):
        await manager.find(Catalog).execute(
            f"UPDATE {change} WHERE tenant_id = $1", tenant_id, timedelta(days=days)
        )
    then = time.time() - timedelta(days=days).total_seconds()
    for segment in _stored(manager, tenant_id).glob("*/segments/*"):
        os.utime(segment, (then, then))


async def _remove_old(manager: Components) -> None:
    """Do what is done every few hours."""
    schedule = BackupSchedule(
        manager.find(Catalog),
        manager.find(Operations),
        Storage(manager.find(Settings).storage_url),
        manager.find(Shipper).require_shipped,
        every_s=0,
        verify_every_s=0,
        keep_days=manager.find(Settings).backup_keep_days,
    )
    await schedule.remove_old()
    await manager.find(ArchiveRetention).remove_old()
    await manager.find(Compaction).compact_old()


def _stored(manager: Components, tenant_id: str) -> Path:
    folder = Path(manager.find(Settings).storage_url.removeprefix("file://"))
    return folder / "tenants" / tenant_id


async def _known_of(manager: Components, tenant_id: str) -> set[str]:
    """What the catalog knows of what a tenant has in storage."""
    rows = await manager.find(Catalog).fetch(
        "SELECT 'epoch' FROM tenant_epochs WHERE tenant_id = $1"
        " UNION ALL SELECT 'backup' FROM backups WHERE tenant_id = $1"
        " UNION ALL SELECT 'export' FROM final_exports WHERE tenant_id = $1"
        " UNION ALL SELECT 'data key' FROM data_keys WHERE tenant_id = $1",
        tenant_id,
    )
    return {row[0] for row in rows}


async def _left_of(manager: Components, tenant_id: str) -> set[str]:
    """What there still is of a tenant."""
    async with manager.find(Catalog).connection() as connection:
        row = await connection.fetchrow(
            "SELECT database_name, status FROM tenants WHERE tenant_id = $1", tenant_id
        )
        assert row is not None
        assert row["status"] == "deleted"
        rows = await connection.fetch(
            "SELECT 'tenant' FROM tenants WHERE tenant_id = $1"
            " UNION ALL SELECT 'export' FROM final_exports WHERE tenant_id = $1"
            " UNION ALL SELECT 'backup' FROM backups WHERE tenant_id = $1 AND status = 'complete'"
            " UNION ALL SELECT 'credentials' FROM credentials WHERE database_name = $2"
            " UNION ALL SELECT 'reconciliations' FROM reconciliations WHERE tenant_id = $1"
            " UNION ALL SELECT 'keys' FROM api_keys WHERE tenant_id = $1 AND revoked_at IS NULL"
            " UNION ALL SELECT 'database' FROM pg_database WHERE datname = $2"
            " UNION ALL SELECT rolname FROM pg_roles WHERE starts_with(rolname, $2 || '_')",
            tenant_id,
            row["database_name"],
        )
    return {row[0] for row in rows}
