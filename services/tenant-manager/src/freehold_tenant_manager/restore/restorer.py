"""Restores one tenant to any second: a new database is rebuilt, and takes the live one's place.

The steps: plan, make the restore database, load the backup, replay the segments, examine, swap,
retire the old database. Only the swap touches the live database, which may be lost. It is fenced
first, so that nothing is acknowledged into it and then missing. The retired database stays until it
is dropped. Each step saves its progress, so after a crash the restore continues.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any

import asyncpg
import structlog

from freehold.contracts.errors import DomainError, NotFound, Unavailable
from freehold.database.failures import database_failures
from freehold.ledger.schema import LEDGER_VERSION_MIN
from freehold.security.key_ring import KeyRing
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.archive.archiver import Archiver
from freehold_tenant_manager.archive.epochs import list_epochs
from freehold_tenant_manager.archive.history import Plan
from freehold_tenant_manager.archive.segments import SegmentError
from freehold_tenant_manager.contracts.restores import NewRestore
from freehold_tenant_manager.credentials.store import find_passwords
from freehold_tenant_manager.metrics import RESTORED_EVENTS, RESTORES
from freehold_tenant_manager.operations.operations import Running
from freehold_tenant_manager.provisioning.tenant_databases import new_database_name
from freehold_tenant_manager.restore.plan import find_left_out, find_plan, find_restorable
from freehold_tenant_manager.restore.rebuild import LedgerRebuild, Rebuilt, rebuild_failures
from freehold_tenant_manager.restore.restore_databases import RestoreDatabases
from freehold_tenant_manager.restore.retired_databases import (
    RetiredDatabases,
    keep_preview,
    register_database,
)
from freehold_tenant_manager.restore.swap import swap
from freehold_tenant_manager.server.locks import Lock, locked
from freehold_tenant_manager.tenants.store import TenantRow

_log = structlog.get_logger(__name__)

_FENCED_S = 30.0


class Restorer:
    """Runs operations of the kind `restore`."""

    def __init__(
        self,
        catalog: Catalog,
        key_ring: KeyRing,
        databases: RestoreDatabases,
        archiver: Archiver,
        retired: RetiredDatabases,
        rebuild: LedgerRebuild,
    ) -> None:
        self._catalog = catalog
        self._key_ring = key_ring
        self._databases = databases
        self._archiver = archiver
        self._retired = retired
        self._rebuild = rebuild

    async def restore(self, running: Running) -> dict[str, Any]:
        """Run a restore, or continue one after a crash.

        Raises:
            DomainError: It cannot be done, or something does not answer now.
        """
        if await self._was_swapped(running):
            return dict(running.state["result"])
        async with rebuild_failures("nothing was restored", partial(self._give_up, running)):
            wanted = NewRestore.model_validate(running.parameters, strict=False)
            return await self._restore(running, wanted)

    async def _restore(self, running: Running, wanted: NewRestore) -> dict[str, Any]:
        tenant = await self._find_tenant(running.tenant)
        await self._clear_earlier_tries(running, tenant)
        await running.save(0.01, "archiving what there is")
        fault = await self._archive_live(tenant)
        plan, instant = await self._plan(tenant, wanted, fault)
        new_epoch = tenant.epoch + 1
        name, passwords = await self._register_database(running, new_epoch)
        await self._rebuild.load_backup(running, name, passwords, plan)
        rebuilt = await self._rebuild.replay_and_examine(
            running, name, plan, new_epoch, until=wanted.to
        )
        async with self._catalog.connection() as connection:
            left_out = await find_left_out(connection, tenant.tenant_id, plan, rebuilt.end.seq)
        result = {
            "database": name,
            "epoch": tenant.epoch if wanted.preview else new_epoch,
            "preview": wanted.preview,
            "former_database": None if wanted.preview else tenant.database_name,
            **rebuilt.shown(plan),
            "events_left_out": left_out,
            "archive_fault": fault,
        }
        if wanted.preview:
            async with self._catalog.connection() as connection:
                await keep_preview(connection, name, rebuilt.last_recorded_at)
        else:
            await self._swap(running, tenant, plan, instant, rebuilt, result)
        RESTORES.labels("preview" if wanted.preview else "swapped").inc()
        RESTORED_EVENTS.inc(rebuilt.end.seq)
        _log.info("restored", tenant_id=tenant.tenant_id, **result)
        return result

    async def _find_tenant(self, tenant_id: str) -> TenantRow:
        async with self._catalog.connection() as connection:
            return await find_restorable(connection, tenant_id)

    async def _was_swapped(self, running: Running) -> bool:
        """Say whether a worker that died had already swapped."""
        name = running.state.get("database")
        if name is None or "result" not in running.state:
            return False
        return (await self._find_tenant(running.tenant)).database_name == str(name)

    async def _clear_earlier_tries(self, running: Running, tenant: TenantRow) -> None:
        """Drop what other restores left; lift the fence of a worker that died before the swap."""
        # Also ours, if a worker registered a database and died before it saved the name.
        await self._retired.drop_unfinished(tenant.tenant_id, but=running.state.get("database"))
        if "result" in running.state and await self._databases.exists(tenant.database_name):
            with database_failures():
                await self._databases.unfence(tenant.database_name)

    async def _archive_live(self, tenant: TenantRow) -> str | None:
        """Archive what the live database has beyond the archive; give the reason if it cannot be.

        Raises:
            StorageError: The storage does not take it.
        """
        if tenant.schema_version < LEDGER_VERSION_MIN:
            return "the ledger is to be migrated before it can be archived"
        try:
            await self._archiver.archive(tenant.tenant_id, even_if_claimed=True)
        except (DomainError, SegmentError, OSError, asyncpg.PostgresError) as error:
            fault = str(error)
            _log.warning(
                "restoring without the live database", tenant_id=tenant.tenant_id, fault=fault
            )
            return fault
        return None

    async def _plan(
        self, tenant: TenantRow, wanted: NewRestore, fault: str | None
    ) -> tuple[Plan, datetime]:
        """Plan the restore, and give the instant that it stands for.

        Raises:
            NotFound: It cannot be planned.
            ClocksDisagree: The time is uncertain.
        """
        now = self._catalog.agreed_now()
        async with self._catalog.connection() as connection:
            plan, instant = await find_plan(connection, tenant, wanted, now)
            epochs = await list_epochs(connection, tenant.tenant_id)
        last = epochs[-1].archived.seq if epochs else 0
        if wanted.to_seq is not None and wanted.to_seq > last:
            known = "" if fault is None else f" that is archived ({fault})"
            raise NotFound(f"{last} is the ledger's last event{known}")
        return plan, instant

    async def _register_database(
        self, running: Running, new_epoch: int
    ) -> tuple[str, dict[str, str]]:
        """Name the restore database in the catalog; give the name and its roles' passwords."""
        name: str | None = running.state.get("database")
        async with self._catalog.connection() as connection:
            if name is None:
                name = new_database_name()
                await register_database(
                    connection,
                    self._key_ring,
                    name,
                    running.tenant,
                    new_epoch,
                    running.operation_id,
                )
            return name, await find_passwords(connection, self._key_ring, name)

    async def _swap(
        self,
        running: Running,
        tenant: TenantRow,
        plan: Plan,
        instant: datetime,
        rebuilt: Rebuilt,
        result: dict[str, Any],
    ) -> None:
        """Fence the live database, archive its last events, and move the tenant.

        Raises:
            Unavailable, ClocksDisagree: It cannot be done now; the live database is open again.
        """
        await running.save(0.95, "putting it in place", result=result)
        # Most of what came in meanwhile: less is left to do behind the fence.
        await self._archive_live(tenant)
        async with (
            self._catalog.connection() as connection,
            locked(connection, Lock.TENANT, tenant.tenant_id),
            self._fenced(running, tenant) as is_fenced,
        ):
            if is_fenced:
                await self._archive_fenced(tenant, result["archive_fault"])
                result["events_left_out"] = await find_left_out(
                    connection, tenant.tenant_id, plan, rebuilt.end.seq
                )
                await running.save(0.97, "putting it in place", result=result)
            # An epoch that begins in the future would hide the old one from restores to an instant.
            self._catalog.agreed_now()
            async with connection.transaction():
                # A worker that was silent too long must not swap: its successor lifted the fence.
                await running.hold(connection)
                if not await swap(
                    connection,
                    tenant,
                    result["database"],
                    result["epoch"],
                    plan=plan,
                    instant=instant,
                    rebuilt=rebuilt,
                ):
                    raise NotFound("the tenant was moved to another database meanwhile")

    @asynccontextmanager
    async def _fenced(self, running: Running, tenant: TenantRow) -> AsyncIterator[bool]:
        """Keep the services out of the live database, if there is one; let them in after a failure.

        Yields:
            Whether there is a live database.
        """
        database = tenant.database_name
        is_there = await self._databases.exists(database)
        try:
            if is_there:
                await self._databases.fence(database)
            yield is_there
        except BaseException:
            # Also when this process is stopped: it may take long until another continues.
            if is_there and not await self._was_swapped(running):
                await self._databases.unfence(database)
            raise

    async def _archive_fenced(self, tenant: TenantRow, known_fault: str | None) -> None:
        """Archive what was acknowledged before the fence, so that later restores have it.

        Raises:
            Unavailable: That cannot be done and could before; or if it can be done and
                could not before: then the plan lacks what was archived now.
            StorageError: The storage does not take it.
        """
        try:
            async with asyncio.timeout(_FENCED_S):
                fault = await self._archive_live(tenant)
        except TimeoutError as error:
            raise Unavailable("what came in last is not archived in time") from error
        if fault is not None and known_fault is None:
            raise Unavailable(f"what came in last cannot be archived: {fault}")
        if fault is None and known_fault is not None:
            raise Unavailable("the live database answers again, and is archived first")

    async def _give_up(self, running: Running) -> None:
        """Drop the restore database of a failed operation; a sweep retries if that fails."""
        name = running.state.get("database")
        if name is None:
            return
        with suppress(DomainError, OSError, TimeoutError, asyncpg.PostgresError):
            if (await self._find_tenant(running.tenant)).database_name != name:
                await self._retired.drop_registered(name)
