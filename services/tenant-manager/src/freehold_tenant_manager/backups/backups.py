"""Backups: a tenant's ledger dumped into the vault, and restored on trial.

A backup and its head are of one snapshot. It counts once its bytes are stored whole. One that a
crash left half-made is made again under the same id, or removed after two days.
"""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from freehold.contracts.errors import Internal, NotFound, Unavailable
from freehold.database.failures import database_failures
from freehold.database.queries import load_queries
from freehold.database.tls import Tls
from freehold.ledger import client
from freehold.ledger.client import SESSION_SETTINGS, Connection
from freehold.ledger.findings import differences
from freehold.ledger.schema import LEDGER_SCHEMA
from freehold.security.key_ring import KeyRing
from freehold.tenants.catalog import Catalog
from freehold.tenants.homes import Home
from freehold_tenant_manager.backups.store import (
    BackupRow,
    begin_backup,
    complete_backup,
    find_backup,
    record_verification,
)
from freehold_tenant_manager.dumps.dumps import DumpError, Dumps
from freehold_tenant_manager.dumps.scratch import new_scratch_name, scratch_database
from freehold_tenant_manager.dumps.sources import find_source
from freehold_tenant_manager.metrics import BACKUP_BYTES, BACKUPS_MADE
from freehold_tenant_manager.operations.operations import Report, Running
from freehold_tenant_manager.server.server import APPLICATION, Server
from freehold_tenant_manager.server.statements import execute_formatted
from freehold_tenant_manager.storage.objects import NotStoredError, StorageError
from freehold_tenant_manager.storage.vault import DamagedError, Vault

_QUERIES = load_queries("freehold_tenant_manager.backups", "queries.sql")

_log = structlog.get_logger(__name__)

_TIMEOUT_S = 30.0
_REPORT_EVERY_S = 2.0
# The progress when the last byte is dumped or restored; the rest takes time too.
_DUMPED = 0.95
_RESTORED = 0.6
_READINGS = 2
# How much larger a dump is than its object; used for the progress only.
_USUAL_COMPRESSION = 3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A state of a ledger that pg_dump can read, while its connection is open."""

    name: str
    schema_version: int
    head_seq: int
    head_hash: bytes
    size_bytes: int


class Backups:
    """Makes backups, and restores them on trial."""

    def __init__(
        self,
        catalog: Catalog,
        server: Server,
        key_ring: KeyRing,
        dumps: Dumps,
        vault: Vault,
        *,
        timeout_s: float,
    ) -> None:
        """Set up; `timeout_s` bounds the verification of one restored ledger."""
        self._catalog = catalog
        self._server = server
        self._key_ring = key_ring
        self._dumps = dumps
        self._vault = vault
        self._timeout_s = timeout_s

    async def make_asked(self, running: Running) -> dict[str, Any]:
        """Run an operation of the kind `backup`; its id is the backup's."""
        backup = await self.make(running.tenant, running.operation_id, running.save)
        return backup.shown().model_dump(mode="json")

    async def verify_asked(self, running: Running) -> dict[str, Any]:
        """Run an operation of the kind `backup-verification`."""
        backup_id = UUID(running.parameters["backup_id"])
        # Saved before it is made: a worker that continues drops it first.
        name = running.state.get("scratch") or new_scratch_name()
        await running.save(0.0, "beginning", scratch=name)
        return await self.verify(running.tenant, backup_id, name, running.save)

    async def make(self, tenant_id: str, backup_id: UUID, report: Report) -> BackupRow:
        """Make a backup with this id, or give it if it is made already.

        Raises:
            NotFound: There is no such tenant.
            Unavailable: It cannot be made now.
        """
        async with self._catalog.connection() as connection:
            made = await find_backup(connection, tenant_id, backup_id)
        if made is not None:
            return made
        home, version = await find_source(self._catalog, self._key_ring, tenant_id)
        # Each try has its own path: a worker that was taken for dead may still be writing.
        attempt = secrets.token_hex(4)
        path = f"tenants/{tenant_id}/{home.epoch}/backups/{backup_id}-{attempt}"
        try:
            async with (
                _snapshot(home, self._server.tls) as snapshot,
                self._dumps.dump(
                    home,
                    "custom",
                    server_version=version,
                    snapshot=snapshot.name,
                    is_compressed_later=True,
                ) as pieces,
            ):
                await self._begin(backup_id, home, path, snapshot)
                reported = _reported(pieces, snapshot.size_bytes, _DUMPED, report, "dumping")
                stored = await self._vault.put(tenant_id, path, reported)
        except (DumpError, StorageError) as error:
            _log.warning("backup not made", tenant_id=tenant_id, fault=str(error))
            raise Unavailable(f"the backup could not be made: {error}") from error
        async with self._catalog.connection() as connection:
            counts = await complete_backup(connection, backup_id, path, stored)
            made = await find_backup(connection, tenant_id, backup_id)
        if not counts:
            await self._remove(path)
        if made is None:
            raise Unavailable("another process makes this backup")
        BACKUPS_MADE.inc()
        BACKUP_BYTES.inc(stored.bytes)
        return made

    async def verify(
        self, tenant_id: str, backup_id: UUID, scratch: str, report: Report
    ) -> dict[str, Any]:
        """Restore a backup into a scratch database and compare it with its row.

        Raises:
            NotFound: There is no such backup.
            Unavailable: It cannot be read now.
            Internal: It is damaged, and marked so.
        """
        async with self._catalog.connection() as connection:
            backup = await find_backup(connection, tenant_id, backup_id)
            version = connection.get_server_version().major
        if backup is None:
            raise NotFound("there is no such backup")
        fault: str | None = None
        checked: dict[str, Any] = {}
        try:
            # Only a backup that is wrong twice is damaged: the storage may have failed once.
            for _ in range(_READINGS):
                try:
                    with database_failures("the scratch database"):
                        checked = await self._restore_and_check(backup, scratch, version, report)
                    fault = None
                    break
                except (DamagedError, NotStoredError) as error:
                    fault = str(error)
        except StorageError as error:
            raise Unavailable(f"the backup could not be read: {error}") from error
        except DumpError as error:
            # The backup need not be to blame: the disk may be full.
            raise Internal(f"the backup could not be restored: {error}") from error
        async with self._catalog.connection() as connection:
            await record_verification(connection, backup_id, ok=fault is None)
        if fault is not None:
            _log.error("backup damaged", tenant_id=tenant_id, backup_id=backup_id, fault=fault)
            raise Internal(f"the backup is damaged: {fault}")
        return {"backup_id": str(backup_id), "ok": True, **checked}

    async def _begin(self, backup_id: UUID, home: Home, path: str, snapshot: Snapshot) -> None:
        async with self._catalog.connection() as connection:
            earlier = await begin_backup(
                connection,
                backup_id=backup_id,
                tenant_id=home.tenant_id,
                object_path=path,
                epoch=home.epoch,
                schema_version=snapshot.schema_version,
                head_seq=snapshot.head_seq,
                head_hash=snapshot.head_hash,
            )
        if earlier is not None:
            await self._remove(earlier)

    async def _remove(self, path: str) -> None:
        """Remove an object that the catalog no longer names."""
        try:
            await self._vault.delete(path)
        except StorageError as error:
            _log.warning("backup's earlier try not removed", path=path, fault=str(error))

    async def _restore_and_check(
        self, backup: BackupRow, scratch: str, version: int, report: Report
    ) -> dict[str, Any]:
        size_bytes = (backup.bytes or 0) * _USUAL_COMPRESSION
        async with scratch_database(self._server, scratch) as owner:
            pieces = self._vault.get(backup.tenant_id, backup.object_path, digest=backup.sha256)
            login = self._server.login(scratch)
            await self._dumps.restore(
                login,
                owner,
                _reported(pieces, size_bytes, _RESTORED, report, "restoring on trial"),
                server_version=version,
            )
            await report(_RESTORED, "verifying")
            async with self._server.connection(
                scratch,
                statement_timeout_s=self._timeout_s,
                search_path=f"{LEDGER_SCHEMA}, pg_temp",
            ) as connection:
                await execute_formatted(connection, "SET ROLE %I", owner)
                return await self._check(connection, backup)

    async def _check(self, connection: Connection, backup: BackupRow) -> dict[str, Any]:
        """Compare a restored ledger with its backup's row.

        Raises:
            DamagedError: It differs.
        """
        verification = await client.verify(connection)
        if not verification.ok:
            raise DamagedError(
                f"the chain breaks at seq {verification.first_bad_seq}: {verification.reason}"
            )
        if (verification.head_seq, verification.head_hash) != (backup.head_seq, backup.head_hash):
            raise DamagedError(f"the ledger ends at seq {verification.head_seq} with another hash")
        findings = await differences(connection)
        if findings:
            kinds = ", ".join(sorted({finding.kind for finding in findings}))
            raise DamagedError(f"its state differs from the ledger: {kinds}")
        return {
            "events_checked": verification.events_checked,
            "head_seq": verification.head_seq,
            "head_hash": verification.head_hash.hex() if verification.head_seq else None,
        }


@asynccontextmanager
async def _snapshot(home: Home, tls: Tls) -> AsyncIterator[Snapshot]:
    """Export a snapshot of a ledger within a context.

    Raises:
        Overloaded, Unavailable: The database does not answer as it should.
    """
    with database_failures():
        connection = await asyncpg.connect(
            host=home.host,
            port=home.port,
            database=home.database,
            user=home.role,
            password=home.password,
            ssl=tls.context,
            timeout=_TIMEOUT_S,
            command_timeout=_TIMEOUT_S,
            server_settings={
                **SESSION_SETTINGS,
                "application_name": APPLICATION,
                "search_path": f"{home.schema}, pg_temp",
            },
        )
    try:
        with database_failures():
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            head = await client.head(connection)
            (row,) = await connection.fetch(_QUERIES["export_snapshot"])
        yield Snapshot(
            name=row["name"],
            schema_version=row["schema_version"],
            head_seq=head.seq,
            head_hash=head.hash,
            size_bytes=row["size_bytes"],
        )
    finally:
        # Nothing was written, so there is nothing to end properly.
        connection.terminate()


async def _reported(
    pieces: AsyncIterator[bytes], size_bytes: int, progress_max: float, report: Report, what: str
) -> AsyncIterator[bytes]:
    """Pass pieces on, and report every 2 s how many of about `size_bytes` there were."""
    done_bytes = 0
    report_at = time.monotonic()
    async for piece in pieces:
        yield piece
        done_bytes += len(piece)
        if time.monotonic() >= report_at:
            await report(progress_max * min(1.0, done_bytes / max(size_bytes, 1)), what)
            report_at = time.monotonic() + _REPORT_EVERY_S
