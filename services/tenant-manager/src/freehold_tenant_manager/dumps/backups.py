"""Backups: a tenant's ledger dumped into their vault, and restored on trial.

A backup is one snapshot, and its head is that snapshot's. It counts from the moment its bytes are
stored whole; one that a crash left half-made is made anew under the same id, or removed in time.
"""

import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from freehold.contracts.problems import INTERNAL, NOT_FOUND, Problem, unavailable
from freehold.ledger import client
from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_SCHEMA
from freehold.security.sealing import KeyRing
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.failures import database_failures
from freehold.tenancy.homes import Home
from freehold_tenant_manager.catalog.backups import (
    BackupRow,
    begin_backup,
    complete_backup,
    find_backup,
    note_verification,
)
from freehold_tenant_manager.catalog.sources import find_source
from freehold_tenant_manager.dumps.dumping import APPLICATION, DumpError, Dumping
from freehold_tenant_manager.dumps.scratch import new_scratch_name, scratch_database
from freehold_tenant_manager.metrics import BACKUP_BYTES, BACKUPS_MADE
from freehold_tenant_manager.operations import Running, Tell
from freehold_tenant_manager.server import Server
from freehold_tenant_manager.statements import execute_formatted
from freehold_tenant_manager.storage.objects import NotStoredError, StorageError
from freehold_tenant_manager.storage.vault import DamagedError, Vault

_log = structlog.get_logger(__name__)

_TIMEOUT_S = 30.0
_NOTE_EVERY_S = 2.0
# What remains to be done when the last byte is dumped, or restored, takes its time too.
_DUMPED = 0.95
_RESTORED = 0.6
# For progress alone: how much larger a dump is than what is stored of it.
_USUAL_COMPRESSION = 3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A moment of a ledger that a dump can be made of, while its connection is open."""

    name: str
    schema_version: int
    head_seq: int
    head_hash: bytes
    head_recorded_at: datetime | None
    size_bytes: int


class Backups:
    """Makes backups, and proves that they restore."""

    def __init__(
        self,
        catalog: Catalog,
        server: Server,
        key_ring: KeyRing,
        dumping: Dumping,
        vault: Vault,
        *,
        catalog_name: str,
        timeout_s: float,
    ) -> None:
        """Say where tenants are found, and what dumps and keeps them.

        Args:
            catalog: Knows the tenants and their backups.
            server: Where scratch databases are made.
            key_ring: Opens the tenants' credentials.
            dumping: Dumps and restores.
            vault: Keeps the dumps.
            catalog_name: The catalog's database.
            timeout_s: Bounds the verification of one restored ledger.
        """
        self._catalog = catalog
        self._server = server
        self._key_ring = key_ring
        self._dumping = dumping
        self._vault = vault
        self._catalog_name = catalog_name
        self._timeout_s = timeout_s

    async def make_asked(self, running: Running) -> dict[str, Any]:
        """Do an operation of the kind `backup`; its id is the backup's."""
        backup = await self.make(running.tenant, running.operation_id, running.note)
        return backup.shown().model_dump(mode="json")

    async def verify_asked(self, running: Running) -> dict[str, Any]:
        """Do an operation of the kind `backup-verification`."""
        backup_id = UUID(running.parameters["backup_id"])
        # Noted before it is made: whoever goes on in our place drops it first.
        name = running.state.get("scratch") or new_scratch_name()
        await running.note(0.0, "beginning", scratch=name)
        return await self.verify(running.tenant, backup_id, name, running.note)

    async def make(self, tenant_id: str, backup_id: UUID, tell: Tell) -> BackupRow:
        """Make a backup; where it is made already, give it.

        Args:
            tenant_id: Whose ledger it is.
            backup_id: Chosen beforehand, so that making it can be repeated.
            tell: Hears how far it is.

        Raises:
            Problem: not-found; unavailable, where it cannot be made now.
        """
        async with self._catalog.connection() as connection:
            made = await find_backup(connection, tenant_id, backup_id)
        if made is not None:
            return made
        home, version = await find_source(self._catalog, self._key_ring, tenant_id)
        # Each try has a place of its own: one that was taken for dead may still be writing.
        attempt = secrets.token_hex(4)
        path = f"tenants/{tenant_id}/{home.epoch}/backups/{backup_id}-{attempt}"
        try:
            async with (
                _snapshot(home) as snapshot,
                self._dumping.dump(
                    home,
                    "custom",
                    server_version=version,
                    snapshot=snapshot.name,
                    is_compressed_later=True,
                ) as pieces,
            ):
                await self._begin(backup_id, home, path, snapshot)
                told = _told(pieces, snapshot.size_bytes, _DUMPED, tell, "dumping")
                stored = await self._vault.put(tenant_id, path, told)
        except (DumpError, StorageError) as error:
            _log.warning("backup not made", tenant_id=tenant_id, fault=str(error))
            raise unavailable(f"the backup could not be made: {error}") from error
        async with self._catalog.connection() as connection:
            counts = await complete_backup(connection, backup_id, path, stored)
            made = await find_backup(connection, tenant_id, backup_id)
        if not counts:
            await self._remove(path)
        if made is None:
            raise unavailable("another process makes this backup")
        BACKUPS_MADE.inc()
        BACKUP_BYTES.inc(stored.bytes)
        return made

    async def verify(
        self, tenant_id: str, backup_id: UUID, scratch: str, tell: Tell
    ) -> dict[str, Any]:
        """Restore a backup into a scratch database and compare it with what it should be.

        Raises:
            Problem: not-found; unavailable, where it cannot be said now; internal, where the
                backup is damaged and was marked so.
        """
        async with self._catalog.connection() as connection:
            backup = await find_backup(connection, tenant_id, backup_id)
            version = connection.get_server_version().major
        if backup is None:
            raise Problem(NOT_FOUND, "there is no such backup")
        fault: str | None
        try:
            with database_failures("the scratch database"):
                checked = await self._restore_and_check(backup, scratch, version, tell)
            fault = None
        except (DamagedError, NotStoredError) as error:
            fault = str(error)
        except StorageError as error:
            raise unavailable(f"the backup could not be read: {error}") from error
        except DumpError as error:
            # A full disk would not mean that the backup is to blame.
            raise Problem(INTERNAL, f"the backup could not be restored: {error}") from error
        async with self._catalog.connection() as connection:
            await note_verification(connection, backup_id, ok=fault is None)
        if fault is not None:
            _log.error("backup damaged", tenant_id=tenant_id, backup_id=backup_id, fault=fault)
            raise Problem(INTERNAL, f"the backup is damaged: {fault}")
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
                head_recorded_at=snapshot.head_recorded_at,
            )
        if earlier is not None:
            await self._remove(earlier)

    async def _remove(self, path: str) -> None:
        """Remove what no row of the catalog names any more."""
        try:
            await self._vault.delete(path)
        except StorageError as error:
            _log.warning("backup's earlier try not removed", path=path, fault=str(error))

    async def _restore_and_check(
        self, backup: BackupRow, scratch: str, version: int, tell: Tell
    ) -> dict[str, Any]:
        size_bytes = (backup.bytes or 0) * _USUAL_COMPRESSION
        async with scratch_database(self._server, self._catalog_name, scratch) as owner:
            pieces = self._vault.get(backup.tenant_id, backup.object_path, digest=backup.sha256)
            login = self._server.login(scratch)
            await self._dumping.restore(
                login,
                owner,
                _told(pieces, size_bytes, _RESTORED, tell, "restoring on trial"),
                server_version=version,
            )
            await tell(_RESTORED, "verifying")
            async with self._server.connection(
                scratch,
                statement_timeout_s=self._timeout_s,
                search_path=f"{LEDGER_SCHEMA}, pg_temp",
            ) as connection:
                await execute_formatted(connection, "SET ROLE %I", owner, timeout_s=_TIMEOUT_S)
                return await self._check(connection, backup)

    async def _check(self, connection: Connection, backup: BackupRow) -> dict[str, Any]:
        """Compare a restored ledger with what its backup should have.

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
        findings = await client.reconcile(connection)
        if findings:
            raise DamagedError(f"the balances of {len(findings)} accounts differ from the ledger")
        return {
            "events_checked": verification.events_checked,
            "head_seq": verification.head_seq,
            "head_hash": verification.head_hash.hex() if verification.head_seq else None,
        }


@asynccontextmanager
async def _snapshot(home: Home) -> AsyncIterator[Snapshot]:
    """Hold a ledger still for a while, for those who are told the snapshot's name.

    Raises:
        Problem: overloaded or unavailable, where the database does not answer as it should.
    """
    with database_failures():
        connection = await asyncpg.connect(
            host=home.host,
            port=home.port,
            database=home.database,
            user=home.role,
            password=home.password,
            timeout=_TIMEOUT_S,
            command_timeout=_TIMEOUT_S,
            server_settings={
                "application_name": APPLICATION,
                "search_path": f"{home.schema}, pg_temp",
            },
        )
    try:
        with database_failures():
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            head = await client.head(connection)
            row = await connection.fetchrow(
                "SELECT pg_export_snapshot() AS name,"
                " (SELECT max(version) FROM schema_migrations) AS schema_version,"
                " pg_database_size(current_database()) AS size_bytes"
            )
        if row is None:
            raise RuntimeError("the server told no snapshot")
        yield Snapshot(
            name=row["name"],
            schema_version=row["schema_version"],
            head_seq=head.seq,
            head_hash=head.hash,
            head_recorded_at=head.recorded_at if head.seq else None,
            size_bytes=row["size_bytes"],
        )
    finally:
        # Nothing was written, and nobody waits for an answer.
        connection.terminate()


async def _told(
    pieces: AsyncIterator[bytes], size_bytes: int, progress_max: float, tell: Tell, what: str
) -> AsyncIterator[bytes]:
    """Pass pieces on, and tell now and then how many there were of about so many bytes."""
    done_bytes = 0
    tell_at = time.monotonic()
    async for piece in pieces:
        yield piece
        done_bytes += len(piece)
        if time.monotonic() >= tell_at:
            await tell(progress_max * min(1.0, done_bytes / max(size_bytes, 1)), what)
            tell_at = time.monotonic() + _NOTE_EVERY_S
