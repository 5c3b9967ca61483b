"""Restores one tenant to any second: into a new database beside the live one, and then swapped.

The new database is made of a backup and of archived segments, checked against its own hashes and
against what is known of them outside, and only then put in place of the old one. Before that the
old one is fenced, so nothing is acknowledged into it that the tenant would then not have; it stays
until it is dropped. The live database is needed for none of this.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from freehold.contracts.problems import NOT_FOUND, OVERLOADED, UNAVAILABLE, Problem, unavailable
from freehold.ledger import client as ledger
from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_MIGRATIONS, LEDGER_SCHEMA, LEDGER_VERSION
from freehold.security.sealing import KeyRing
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.failures import database_failures
from freehold_tenant_manager.archive import Archive, Archived
from freehold_tenant_manager.archiving import Archiver
from freehold_tenant_manager.beside import Beside
from freehold_tenant_manager.catalog.credentials import new_passwords, seal_passwords
from freehold_tenant_manager.catalog.epochs import list_bases, list_epochs
from freehold_tenant_manager.catalog.former_databases import (
    add_making,
    find_former,
    find_former_passwords,
    is_being_made,
    keep_as_preview,
    list_formers,
    remove_former,
)
from freehold_tenant_manager.catalog.swapping import Swap, swap
from freehold_tenant_manager.catalog.tenants import TenantRow, find_tenant
from freehold_tenant_manager.dumping import DumpError, Dumping
from freehold_tenant_manager.history import Base, EpochRow, Leg, Plan, plan_for_instant
from freehold_tenant_manager.locks import Lock, locked
from freehold_tenant_manager.metrics import RESTORED_EVENTS, RESTORES
from freehold_tenant_manager.migrating import migrate
from freehold_tenant_manager.operations import OperationLostError, Running
from freehold_tenant_manager.pieces import pieces_of
from freehold_tenant_manager.segments import (
    BEGINNING,
    Position,
    Replayed,
    Segment,
    SegmentError,
    SegmentReader,
    replay,
    stage,
)
from freehold_tenant_manager.storage import NotStoredError, StorageError
from freehold_tenant_manager.tenant_databases import new_database_name
from freehold_tenant_manager.vault import DamagedError, Vault

_log = structlog.get_logger(__name__)

KIND = "restore"
RESTORABLE = ("active", "suspended")
_LOCK_TIMEOUT_S = 30.0
_BATCH_EVENTS = 50_000
_PROJECT_EVENTS = 200_000
_AHEAD_MAX = 8
_AHEAD_BYTES_MAX = 1024 * 1024
_ANCHORS_FAULT = "the restored ledger does not have the hash that was noted at event {seq}"


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What an operation asks for."""

    to: datetime | None
    backup_id: UUID | None
    preview: bool

    @classmethod
    def read(cls, parameters: dict[str, Any]) -> "_Wanted":
        to, backup_id = parameters["to"], parameters["backup_id"]
        return cls(
            None if to is None else datetime.fromisoformat(to),
            None if backup_id is None else UUID(backup_id),
            parameters["preview"],
        )


@dataclass(frozen=True, slots=True)
class _Restored:
    """Where a restored ledger ends."""

    end: Position
    last_recorded_at: datetime
    segments: int


class Restorer:
    """Does the work of restores."""

    def __init__(
        self,
        catalog: Catalog,
        key_ring: KeyRing,
        beside: Beside,
        archiver: Archiver,
        archive: Archive,
        vault: Vault,
        dumping: Dumping,
        *,
        timeout_s: float,
    ) -> None:
        """Set up.

        Args:
            catalog: Knows tenants, their epochs and their backups.
            key_ring: Seals and opens the passwords of databases that are made.
            beside: Makes them.
            archiver: Archives what the live database still has, where there is one.
            archive: Gives segments.
            vault: Gives backups.
            dumping: Restores them.
            timeout_s: Bounds each statement in a database that is restored.
        """
        self._catalog = catalog
        self._key_ring = key_ring
        self._beside = beside
        self._archiver = archiver
        self._archive = archive
        self._vault = vault
        self._dumping = dumping
        self._timeout_s = timeout_s

    async def restore(self, running: Running) -> dict[str, Any]:
        """Do a restore; gone on with where it was cut short.

        Raises:
            Problem: What was asked for cannot be restored, or something is not there right now.
        """
        wanted = _Wanted.read(running.parameters)
        if await self._was_swapped(running):
            return dict(running.state["result"])
        try:
            return await self._restore(running, wanted)
        except (SegmentError, DamagedError, DumpError, NotStoredError) as error:
            await self._give_up(running)
            raise Problem(NOT_FOUND, f"nothing was restored: {error}") from error
        except StorageError as error:
            raise unavailable(f"the archive could not be read: {error}") from error
        except Problem as problem:
            # What is only away for now is tried again with what is there.
            if problem.kind not in (UNAVAILABLE, OVERLOADED):
                await self._give_up(running)
            raise
        except OperationLostError:
            raise
        except Exception:
            await self._give_up(running)
            raise

    async def drop(self, tenant_id: str, name: str) -> bool:
        """Drop a database beside a tenant's own; answer whether there was one.

        Raises:
            Problem: unavailable, while a restore still works on it, or the server does not answer.
        """
        async with (
            self._catalog.connection() as connection,
            locked(connection, Lock.TENANT, tenant_id, timeout_s=_LOCK_TIMEOUT_S),
        ):
            row = await find_former(connection, tenant_id, name)
            if row is None:
                return False
            if row.kind == "making" and await is_being_made(connection, name):
                raise unavailable("a restore is still making this database")
            with database_failures():
                await self._beside.drop(name)
            await remove_former(connection, name)
        _log.info("former database dropped", tenant_id=tenant_id, database=name)
        return True

    async def drop_all(self, tenant_id: str) -> None:
        """Drop every database beside a tenant's own, for a tenant who leaves.

        Raises:
            Problem: unavailable, where the server does not answer.
        """
        async with self._catalog.connection() as connection:
            rows = await list_formers(connection, tenant_id)
        for row in rows:
            with database_failures():
                await self._beside.drop(row.database_name)
            async with self._catalog.connection() as connection:
                await remove_former(connection, row.database_name)

    async def _restore(self, running: Running, wanted: _Wanted) -> dict[str, Any]:
        tenant = await self._tenant(running.tenant)
        await self._clean_up(running)
        await self._lift_fence(running, tenant)
        await running.note(0.01, "archiving what there is")
        await self._archive_rest(tenant)
        plan, instant = await self._plan(tenant, wanted)
        new_epoch = tenant.epoch + 1
        name = await self._begin(running, tenant, plan, new_epoch)
        restored = await self._fill(running, name, tenant, plan, wanted.to)
        await running.note(0.8, "checking every hash and balance")
        findings = await self._examine(name, tenant, plan, restored, new_epoch)
        await self._beside.hand_over(name)
        result: dict[str, Any] = {
            "database": name,
            "epoch": tenant.epoch if wanted.preview else new_epoch,
            "from_epoch": plan.epoch,
            "preview": wanted.preview,
            "former_database": None if wanted.preview else tenant.database_name,
            "backup_id": None if plan.base is None else str(plan.base.backup_id),
            "segments": restored.segments,
            "head_seq": restored.end.seq,
            "head_hash": restored.end.hash.hex(),
            "last_recorded_at": _text(restored.last_recorded_at) if restored.end.seq else None,
            "balances_rebuilt": findings,
        }
        if wanted.preview:
            async with self._catalog.connection() as connection:
                await keep_as_preview(connection, name, restored.last_recorded_at)
        else:
            await running.note(0.95, "putting it in place", result=result)
            await self._swap(running, tenant, plan, name, restored, instant)
        RESTORES.labels("preview" if wanted.preview else "swapped").inc()
        RESTORED_EVENTS.inc(restored.end.seq)
        _log.info("restored", tenant_id=tenant.tenant_id, **result)
        return result

    async def _tenant(self, tenant_id: str) -> TenantRow:
        async with self._catalog.connection() as connection:
            tenant = await find_tenant(connection, tenant_id)
        if tenant is None or tenant.status not in RESTORABLE:
            raise Problem(NOT_FOUND, "there is no such tenant")
        return tenant

    async def _was_swapped(self, running: Running) -> bool:
        """Say whether a worker that died has swapped already, and had only to say so."""
        name = running.state.get("database")
        if name is None or "result" not in running.state:
            return False
        tenant = await self._tenant(running.tenant)
        return tenant.database_name == str(name)

    async def _archive_rest(self, tenant: TenantRow) -> None:
        """Archive what the live database has beyond the archive, as far as it answers."""
        try:
            await self._archiver.archive(tenant.tenant_id, even_if_claimed=True)
        except (Problem, SegmentError, StorageError, OSError, asyncpg.PostgresError) as error:
            _log.warning(
                "restoring without the live database",
                tenant_id=tenant.tenant_id,
                fault=str(error),
            )

    async def _plan(self, tenant: TenantRow, wanted: _Wanted) -> tuple[Plan, datetime]:
        """Say what the restore is made of, and which instant it stands for."""
        async with self._catalog.connection() as connection:
            epochs = await list_epochs(connection, tenant.tenant_id)
            backups = await list_bases(connection, tenant.tenant_id)
        if not epochs:
            # Nothing was ever archived: there may be backups.
            epochs = [_first_epoch(tenant)]
        if wanted.backup_id is not None:
            found = [backup for backup in backups if backup.backup_id == wanted.backup_id]
            if not found:
                raise Problem(NOT_FOUND, "there is no such complete backup")
            return Plan(found[0].epoch, found[0], ()), found[0].created_at
        instant = wanted.to or datetime.now(UTC)
        plan = plan_for_instant(epochs, backups, instant)
        if plan is None:
            raise Problem(NOT_FOUND, "the tenant had no ledger at that time")
        return plan, instant

    async def _begin(self, running: Running, tenant: TenantRow, plan: Plan, new_epoch: int) -> str:
        """Make the database, and restore the backup into it, unless that was done already."""
        name: str | None = running.state.get("database")
        if name is not None and running.state.get("based") and await self._beside.exists(name):
            return name
        async with self._catalog.connection() as connection:
            if name is None:
                name = new_database_name()
                await add_making(
                    connection,
                    name,
                    seal_passwords(self._key_ring, name, new_passwords()),
                    tenant.tenant_id,
                    new_epoch,
                    running.operation_id,
                )
            passwords = await find_former_passwords(connection, self._key_ring, name)
            version = connection.get_server_version().major
        await running.note(0.05, "making a database", database=name)
        with database_failures():
            await self._beside.make(name, passwords, empty=plan.base is not None)
        if plan.base is not None:
            await running.note(0.1, "restoring the backup")
            await self._restore_backup(name, tenant, plan.base, version)
        await running.note(0.4, "replaying what came after", based=True)
        return name

    async def _restore_backup(
        self, name: str, tenant: TenantRow, base: Base, server_version: int
    ) -> None:
        login = self._beside.login(name)
        stored = self._vault.get(tenant.tenant_id, base.path, digest=base.sha256)
        async with aclosing(stored) as pieces:
            await self._dumping.restore(
                login, f"{name}_owner", pieces, server_version=server_version
            )
        async with self._beside.as_owner(name, timeout_s=self._timeout_s) as connection:
            # What a backup of an earlier release lacks.
            await migrate(connection, LEDGER_MIGRATIONS, LEDGER_SCHEMA)

    async def _fill(
        self,
        running: Running,
        name: str,
        tenant: TenantRow,
        plan: Plan,
        until: datetime | None,
    ) -> _Restored:
        """Replay the segments after what is there; what was replayed already is left out."""
        with database_failures():
            async with self._beside.as_owner(name, timeout_s=self._timeout_s) as connection:
                await stage(connection)
                restored = await _end_of(connection)
                if plan.base is not None and restored.end.seq < plan.base.head_seq:
                    raise SegmentError("the backup does not hold what the catalog says of it")
                for leg in plan.legs:
                    restored = await self._replay_leg(
                        running, connection, tenant.tenant_id, leg, until, restored
                    )
        return restored

    async def _replay_leg(
        self,
        running: Running,
        connection: Connection,
        tenant_id: str,
        leg: Leg,
        until: datetime | None,
        restored: _Restored,
    ) -> _Restored:
        # Asked before the listing: more may be archived from one moment to the next.
        known_seq = await self._archived_seq(tenant_id, leg)
        segments = [
            segment
            for segment in await self._archive.list(tenant_id, leg.epoch)
            if segment.last_seq >= restored.end.seq
            and (leg.through is None or segment.first_seq <= leg.through[0] + 1)
        ]
        done, events = 0, sum(segment.last_seq - segment.first_seq + 1 for segment in segments)
        reached = False
        async with aclosing(self._read_ahead(tenant_id, segments)) as batches:
            async for batch in batches:
                replayed = await replay(
                    connection,
                    [reader for _, reader in batch],
                    until=until,
                    through=leg.through,
                    timeout_s=self._timeout_s,
                )
                done += sum(segment.events for segment, _ in batch)
                restored = _after(restored, replayed, len(batch))
                await running.note(
                    0.4 + 0.4 * min(1, done / max(1, events)),
                    f"replayed up to event {restored.end.seq}",
                )
                reached = replayed.reached
                if reached:
                    break
        if not reached and restored.end.seq < known_seq:
            raise SegmentError(f"the archive lacks what follows event {restored.end.seq}")
        return restored

    async def _archived_seq(self, tenant_id: str, leg: Leg) -> int:
        """Say how far the archive of a leg goes at least."""
        async with self._catalog.connection() as connection:
            epochs = {epoch.epoch: epoch for epoch in await list_epochs(connection, tenant_id)}
        known = epochs[leg.epoch].archived.seq if leg.epoch in epochs else 0
        return known if leg.through is None else min(known, leg.through[0])

    async def _read_ahead(
        self, tenant_id: str, segments: Sequence[Archived]
    ) -> AsyncGenerator[list[tuple[Segment, SegmentReader]], None]:
        """Give segments whose headers are read, several together where they are small.

        Small ones are fetched ahead of their turn: each takes a storage's time to answer.
        """
        fetching: dict[str, asyncio.Task[bytes]] = {}
        batch: list[tuple[Segment, SegmentReader]] = []
        try:
            for place, archived in enumerate(segments):
                for ahead in segments[place : place + _AHEAD_MAX]:
                    if ahead.bytes <= _AHEAD_BYTES_MAX and ahead.path not in fetching:
                        fetching[ahead.path] = asyncio.create_task(self._fetch(tenant_id, ahead))
                if archived.path in fetching:
                    reader = SegmentReader(pieces_of(await fetching[archived.path]))
                    del fetching[archived.path]
                else:
                    reader = SegmentReader(self._archive.get(tenant_id, archived))
                segment = await reader.header()
                if batch and not _belongs(batch, segment):
                    yield batch
                    batch = []
                batch.append((segment, reader))
            if batch:
                yield batch
        finally:
            for task in fetching.values():
                task.cancel()
            await asyncio.gather(*fetching.values(), return_exceptions=True)

    async def _fetch(self, tenant_id: str, segment: Archived) -> bytes:
        try:
            return await self._archive.fetch(tenant_id, segment)
        except NotStoredError as error:
            # Small ones are joined now and then: a new listing has them in a large one.
            raise unavailable(f"the archive has changed: {error}") from error

    async def _examine(
        self, name: str, tenant: TenantRow, plan: Plan, restored: _Restored, new_epoch: int
    ) -> int:
        """Bring the state up to the ledger and check both; answer how many balances were mended.

        Raises:
            SegmentError: The ledger does not prove itself, or is not what was noted outside it.
        """
        with database_failures():
            async with self._beside.as_owner(name, timeout_s=self._timeout_s) as connection:
                await connection.execute("ANALYZE", timeout=self._timeout_s)
                await connection.execute("SELECT begin_epoch($1)", new_epoch)
                await connection.execute("SELECT make_partitions()", timeout=self._timeout_s)
                while True:
                    projection = await connection.fetchrow(
                        "SELECT * FROM project($1)", _PROJECT_EVENTS, timeout=self._timeout_s
                    )
                    if projection is None or projection["last_seq"] >= projection["head_seq"]:
                        break
                differing = await connection.fetch(
                    "SELECT * FROM reconcile()", timeout=self._timeout_s
                )
                if differing:
                    await connection.execute("SELECT rebuild()", timeout=self._timeout_s)
                proof = await connection.fetchrow("SELECT * FROM verify()", timeout=self._timeout_s)
                if proof is None or not proof["ok"]:
                    reason = "" if proof is None else proof["reason"]
                    raise SegmentError(f"the restored ledger does not prove itself: {reason}")
                for seq, known in await self._anchors(tenant.tenant_id, plan, restored.end.seq):
                    if await ledger.hash_at(connection, seq) != known:
                        raise SegmentError(_ANCHORS_FAULT.format(seq=seq))
        return len(differing)

    async def _anchors(self, tenant_id: str, plan: Plan, head_seq: int) -> list[tuple[int, bytes]]:
        """Give the hashes that are known outside of the histories which the restore is made of."""
        async with self._catalog.connection() as connection:
            epochs = await list_epochs(connection, tenant_id)
            backups = await list_bases(connection, tenant_id)
            row = await connection.fetchrow(
                "SELECT epoch, anchor_seq, anchor_hash FROM reconciliations WHERE tenant_id = $1",
                tenant_id,
            )
        through = {leg.epoch: leg.through for leg in plan.legs} or {plan.epoch: None}
        noted = [(epoch.epoch, epoch.archived.seq, epoch.archived.hash) for epoch in epochs]
        noted += [(backup.epoch, backup.head_seq, backup.head_hash) for backup in backups]
        if row is not None and row["anchor_hash"] is not None:
            noted.append((row["epoch"], row["anchor_seq"], row["anchor_hash"]))
        return [
            (seq, known)
            for epoch, seq, known in noted
            if epoch in through
            and 0 < seq <= head_seq
            and seq <= (through[epoch] or (head_seq, 0))[0]
        ]

    async def _swap(
        self,
        running: Running,
        tenant: TenantRow,
        plan: Plan,
        name: str,
        restored: _Restored,
        instant: datetime,
    ) -> None:
        """Fence the old database and put the new one in its place.

        Raises:
            Problem: unavailable, where that cannot be done now; the old one is then open again.
        """
        old = tenant.database_name
        async with (
            self._catalog.connection() as connection,
            locked(connection, Lock.TENANT, tenant.tenant_id, timeout_s=_LOCK_TIMEOUT_S),
        ):
            has_old = await self._beside.exists(old)
            try:
                if has_old:
                    await self._beside.fence(old)
                    # What was acknowledged until now is lost to no later restore.
                    await self._archive_rest(tenant)
                swapped = await swap(
                    connection,
                    Swap(
                        tenant.tenant_id,
                        old_database=old,
                        new_database=name,
                        old_epoch=tenant.epoch,
                        new_epoch=tenant.epoch + 1,
                        schema_version=LEDGER_VERSION,
                        parent_epoch=plan.epoch,
                        start_at=instant,
                        start=restored.end,
                    ),
                )
                _require_swapped(swapped=swapped)
            except Exception:
                if has_old and not await self._was_swapped(running):
                    await self._beside.unfence(old)
                raise

    async def _clean_up(self, running: Running) -> None:
        """Drop what restores have left that failed or were forgotten."""
        async with self._catalog.connection() as connection:
            rows = await list_formers(connection, running.tenant)
        for row in rows:
            # Ours too, where it was written down and then not noted.
            if row.kind == "making" and row.database_name != running.state.get("database"):
                with database_failures():
                    await self._beside.drop(row.database_name)
                async with self._catalog.connection() as connection:
                    await remove_former(connection, row.database_name)

    async def _lift_fence(self, running: Running, tenant: TenantRow) -> None:
        """Let the services in again where a worker has died between the fence and the swap."""
        if "result" in running.state and await self._beside.exists(tenant.database_name):
            with database_failures():
                await self._beside.unfence(tenant.database_name)

    async def _give_up(self, running: Running) -> None:
        """Drop what was made for an operation that has failed, if that can be done now."""
        name = running.state.get("database")
        if name is None:
            return
        with suppress(Problem, OSError, TimeoutError, asyncpg.PostgresError):
            tenant = await self._tenant(running.tenant)
            if tenant.database_name != name:
                await self._beside.drop(name)
                async with self._catalog.connection() as connection:
                    await remove_former(connection, name)


def _require_swapped(*, swapped: bool) -> None:
    if not swapped:
        raise Problem(NOT_FOUND, "the tenant was moved to another database meanwhile")


def _after(restored: _Restored, replayed: Replayed, segments: int) -> _Restored:
    return _Restored(replayed.end, replayed.last_recorded_at, restored.segments + segments)


def _belongs(batch: Sequence[tuple[Segment, SegmentReader]], segment: Segment) -> bool:
    """Say whether a segment can be replayed together with a batch: it follows, and adds little."""
    events = sum(earlier.events for earlier, _ in batch)
    return segment.after == batch[-1][0].end and events + segment.events <= _BATCH_EVENTS


async def _end_of(connection: Connection) -> _Restored:
    head = await ledger.head(connection)
    change = await connection.fetchval("SELECT coalesce(max(change_id), 0) FROM rule_changes")
    return _Restored(Position(head.seq, head.event_id, head.hash, change), head.recorded_at, 0)


def _first_epoch(tenant: TenantRow) -> EpochRow:
    return EpochRow(tenant.epoch, tenant.created_at, None, None, 0, 0, BEGINNING, None, None)


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
