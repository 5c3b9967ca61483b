"""Restores one tenant to any second: into a new database beside the live one, and then swapped.

The new database is made of a backup and of archived segments, checked against its own hashes and
against what is known of them outside, and only then put in place of the old one. Before that the
old one is fenced, so nothing is acknowledged into it that the tenant would then not have; it stays
until it is dropped. The live database is needed for none of this.
"""

import asyncio
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from freehold.contracts.problems import NOT_FOUND, OVERLOADED, UNAVAILABLE, Problem, unavailable
from freehold.ledger.schema import (
    LEDGER_MIGRATIONS,
    LEDGER_SCHEMA,
    services_version_min,
)
from freehold.security.sealing import KeyRing
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.failures import database_failures
from freehold_tenant_manager.archive.archiving import Archiver
from freehold_tenant_manager.archive.segments import BEGINNING, LEDGER_VERSION_MIN, SegmentError
from freehold_tenant_manager.catalog.credentials import new_passwords, seal_passwords
from freehold_tenant_manager.catalog.deletion import find_restorable
from freehold_tenant_manager.catalog.epochs import list_bases, list_epochs
from freehold_tenant_manager.catalog.former_databases import (
    add_making,
    find_former_passwords,
    keep_as_preview,
)
from freehold_tenant_manager.catalog.swapping import Swap, swap
from freehold_tenant_manager.catalog.tenants import TenantRow
from freehold_tenant_manager.dumps.dumping import DumpError, Dumping
from freehold_tenant_manager.locks import Lock, locked
from freehold_tenant_manager.metrics import RESTORED_EVENTS, RESTORES
from freehold_tenant_manager.migration.migrating import migrate
from freehold_tenant_manager.operations import OperationLostError, Running
from freehold_tenant_manager.provisioning.tenant_databases import new_database_name
from freehold_tenant_manager.restore.beside import Beside
from freehold_tenant_manager.restore.examination import examine, find_anchors
from freehold_tenant_manager.restore.former_databases import FormerDatabases
from freehold_tenant_manager.restore.history import Base, EpochRow, Plan, plan_for_instant
from freehold_tenant_manager.restore.replaying import Replaying, Restored
from freehold_tenant_manager.storage.objects import NotStoredError, StorageError
from freehold_tenant_manager.storage.vault import DamagedError, Vault

_log = structlog.get_logger(__name__)

KIND = "restore"
_LOCK_TIMEOUT_S = 30.0
_FENCED_S = 30.0


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


class Restorer:
    """Does the work of restores."""

    def __init__(
        self,
        catalog: Catalog,
        key_ring: KeyRing,
        beside: Beside,
        archiver: Archiver,
        former: FormerDatabases,
        replaying: Replaying,
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
            former: Drops what is not needed any more.
            replaying: Replays segments.
            vault: Gives backups.
            dumping: Restores them.
            timeout_s: Bounds each statement in a database that is restored.
        """
        self._catalog = catalog
        self._key_ring = key_ring
        self._beside = beside
        self._archiver = archiver
        self._former = former
        self._replaying = replaying
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
            raise unavailable(f"the archive cannot be reached: {error}") from error
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

    async def _restore(self, running: Running, wanted: _Wanted) -> dict[str, Any]:
        tenant = await self._tenant(running.tenant)
        # Ours too, where it was written down and then not noted.
        await self._former.drop_unfinished(tenant.tenant_id, but=running.state.get("database"))
        await self._lift_fence(running, tenant)
        await running.note(0.01, "archiving what there is")
        fault = await self._archive_rest(tenant)
        plan, instant = await self._plan(tenant, wanted)
        new_epoch = tenant.epoch + 1
        name = await self._begin(running, tenant, plan, new_epoch)
        with database_failures():
            async with self._beside.as_owner(name, timeout_s=self._timeout_s) as connection:
                # What a backup of an earlier release lacks, or a database that one has begun.
                schema_version = await migrate(connection, LEDGER_MIGRATIONS, LEDGER_SCHEMA)
                restored = await self._replaying.replay(
                    connection,
                    tenant.tenant_id,
                    plan,
                    until=wanted.to,
                    tell=running.part(0.4, 0.8),
                )
                await running.note(0.8, "checking every hash and balance")
                anchors = await find_anchors(
                    self._catalog, tenant.tenant_id, plan, restored.end.seq
                )
                mended = await examine(connection, anchors, new_epoch, timeout_s=self._timeout_s)
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
            "balances_rebuilt": mended,
            "archive_fault": fault,
        }
        if wanted.preview:
            async with self._catalog.connection() as connection:
                await keep_as_preview(connection, name, restored.last_recorded_at)
        else:
            await running.note(0.95, "putting it in place", result=result)
            await self._swap(running, tenant, plan, name, schema_version, restored, instant, fault)
        RESTORES.labels("preview" if wanted.preview else "swapped").inc()
        RESTORED_EVENTS.inc(restored.end.seq)
        _log.info("restored", tenant_id=tenant.tenant_id, **result)
        return result

    async def _tenant(self, tenant_id: str) -> TenantRow:
        async with self._catalog.connection() as connection:
            return await find_restorable(connection, tenant_id)

    async def _was_swapped(self, running: Running) -> bool:
        """Say whether a worker that died has swapped already, and had only to say so."""
        name = running.state.get("database")
        if name is None or "result" not in running.state:
            return False
        tenant = await self._tenant(running.tenant)
        return tenant.database_name == str(name)

    async def _archive_rest(self, tenant: TenantRow) -> str | None:
        """Archive what the live database has beyond the archive; say why it cannot be, if so.

        Raises:
            StorageError: The storage does not take it.
        """
        if tenant.schema_version < LEDGER_VERSION_MIN:
            return "the ledger is to be migrated before it can be archived"
        try:
            await self._archiver.archive(tenant.tenant_id, even_if_claimed=True)
        except (Problem, SegmentError, OSError, asyncpg.PostgresError) as error:
            fault = error.detail if isinstance(error, Problem) else str(error)
            _log.warning(
                "restoring without the live database", tenant_id=tenant.tenant_id, fault=fault
            )
            return fault
        return None

    async def _archive_fenced(self, tenant: TenantRow, known_fault: str | None) -> None:
        """Archive what was acknowledged until the fence: no later restore is to lack it.

        Raises:
            Problem: unavailable, where that cannot be done, and could before; or can be done, and
                could not before.
            StorageError: The storage does not take it.
        """
        try:
            async with asyncio.timeout(_FENCED_S):
                fault = await self._archive_rest(tenant)
        except TimeoutError as error:
            raise unavailable("what came in last is not archived in time") from error
        if fault is not None and known_fault is None:
            raise unavailable(f"what came in last cannot be archived: {fault}")
        if fault is None and known_fault is not None:
            # The plan was made without what has been archived only now.
            raise unavailable("the live database answers again, and is archived first")

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

    async def _swap(
        self,
        running: Running,
        tenant: TenantRow,
        plan: Plan,
        name: str,
        schema_version: int,
        restored: Restored,
        instant: datetime,
        fault: str | None,
    ) -> None:
        """Fence the old database and put the new one in its place.

        Raises:
            Problem: unavailable, where that cannot be done now; the old one is then open again.
        """
        old = tenant.database_name
        # Most of what has come in meanwhile, before anybody is kept waiting for the rest.
        await self._archive_rest(tenant)
        async with (
            self._catalog.connection() as connection,
            locked(connection, Lock.TENANT, tenant.tenant_id, timeout_s=_LOCK_TIMEOUT_S),
        ):
            has_old = await self._beside.exists(old)
            try:
                if has_old:
                    await self._beside.fence(old)
                    await self._archive_fenced(tenant, fault)
                # Who was silent for too long must not swap: the successor has lifted the fence.
                async with connection.transaction():
                    await running.hold(connection)
                    swapped = await swap(
                        connection,
                        Swap(
                            tenant.tenant_id,
                            old_database=old,
                            new_database=name,
                            old_epoch=tenant.epoch,
                            new_epoch=tenant.epoch + 1,
                            schema_version=schema_version,
                            services_version_min=services_version_min(LEDGER_MIGRATIONS),
                            parent_epoch=plan.epoch,
                            start_at=instant,
                            start=restored.end,
                        ),
                    )
                _require_swapped(swapped=swapped)
            except BaseException:
                # Also where this process is told to stop: nobody else may come soon.
                if has_old and not await self._was_swapped(running):
                    await self._beside.unfence(old)
                raise

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
                await self._former.drop_noted(name)


def _require_swapped(*, swapped: bool) -> None:
    if not swapped:
        raise Problem(NOT_FOUND, "the tenant was moved to another database meanwhile")


def _first_epoch(tenant: TenantRow) -> EpochRow:
    return EpochRow(tenant.epoch, tenant.created_at, None, None, 0, 0, BEGINNING, None, None)


def _text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
