"""Brings one tenant's ledger back after the loss of the server, in a database of the same name.

The catalog is back already, with the tenant in it. The database gets the roles and passwords that
the catalog has, so connection strings and the services' credentials stay valid. Until the ledger is
whole and checked, its roles have other passwords, so no service can enter. Then an epoch begins, as
after any restore: what was acknowledged after the last segment is missing.
"""

from collections.abc import Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import asyncpg
import structlog

from freehold.contracts.errors import DomainError, NotFound, Unavailable
from freehold.security.key_ring import KeyRing
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.archive.epochs import (
    add_found_epoch,
    list_bases,
    list_epochs,
    record_found,
)
from freehold_tenant_manager.archive.history import EpochRow, Plan, plan_for_instant
from freehold_tenant_manager.archive.segments import BEGINNING, SegmentReader
from freehold_tenant_manager.archive.store import Archive
from freehold_tenant_manager.credentials.store import (
    find_passwords,
    mend_passwords,
    new_passwords,
    set_passwords,
)
from freehold_tenant_manager.metrics import RESTORED_EVENTS, RESTORES
from freehold_tenant_manager.operations.operations import Running
from freehold_tenant_manager.restore.rebuild import LedgerRebuild, Rebuilt, rebuild_failures
from freehold_tenant_manager.restore.restore_databases import RestoreDatabases
from freehold_tenant_manager.restore.swap import swap
from freehold_tenant_manager.server.locks import Lock, locked
from freehold_tenant_manager.storage.data_keys import DataKeys
from freehold_tenant_manager.storage.kms import KeyManagementError, KeyUnknownError
from freehold_tenant_manager.storage.objects import NotStoredError, StorageError
from freehold_tenant_manager.storage.vault import DamagedError
from freehold_tenant_manager.tenants.store import TenantRow, find_tenant

_log = structlog.get_logger(__name__)


class LedgerRecovery:
    """Runs operations of the kind `recovery`."""

    def __init__(
        self,
        catalog: Catalog,
        key_ring: KeyRing,
        databases: RestoreDatabases,
        rebuild: LedgerRebuild,
        archive: Archive,
        data_keys: DataKeys,
    ) -> None:
        self._catalog = catalog
        self._key_ring = key_ring
        self._databases = databases
        self._rebuild = rebuild
        self._archive = archive
        self._data_keys = data_keys

    async def recover(self, running: Running) -> dict[str, Any]:
        """Bring a tenant's ledger back, or continue after a crash.

        Raises:
            DomainError: It cannot be brought back, or something does not answer now.
        """
        async with self._catalog.connection() as connection:
            tenant = await find_tenant(connection, running.tenant)
        if tenant is None or not tenant.recovering:
            # A worker that died had already opened the ledger.
            return dict(running.state.get("result", {}))
        await self._adopt_data_key(tenant.tenant_id)
        give_up = partial(self._give_up, running, tenant)
        async with rebuild_failures("the ledger was not brought back", give_up):
            return await self._recover(running, tenant)

    async def _recover(self, running: Running, tenant: TenantRow) -> dict[str, Any]:
        name = tenant.database_name
        mended = await self._mend_passwords(running, tenant)
        stored = await self._archive.epochs(tenant.tenant_id)
        epochs = await self._find_epochs(tenant, stored)
        new_epoch = max([tenant.epoch, *(epoch.epoch for epoch in epochs), *stored]) + 1
        plan, instant, damaged = await self._load_backup(running, tenant, epochs)
        rebuilt = await self._rebuild.replay_and_examine(running, name, plan, new_epoch, until=None)
        result = {
            "database": name,
            "epoch": new_epoch,
            **rebuilt.shown(plan),
            "damaged_backups": damaged,
            "passwords_replaced": mended,
        }
        await running.save(0.95, "opening it", result=result)
        await self._open(running, tenant, plan, new_epoch, instant, rebuilt)
        RESTORES.labels("recovered").inc()
        RESTORED_EVENTS.inc(rebuilt.end.seq)
        _log.info("recovered", tenant_id=tenant.tenant_id, **result)
        return result

    async def _adopt_data_key(self, tenant_id: str) -> None:
        try:
            await self._data_keys.adopt(tenant_id)
        except KeyUnknownError as error:
            raise NotFound(f"the tenant's data key does not open: {error}") from error
        except KeyManagementError as error:
            raise Unavailable(f"the tenant's data key cannot be had now: {error}") from error
        except StorageError as error:
            raise Unavailable(f"the archive cannot be reached: {error}") from error

    async def _mend_passwords(self, running: Running, tenant: TenantRow) -> list[str]:
        """Replace passwords that do not open; list the services concerned, of all tries."""
        async with self._catalog.connection() as connection, connection.transaction():
            mended = await mend_passwords(connection, self._key_ring, tenant.database_name)
        known = sorted({*running.state.get("passwords_replaced", []), *mended})
        if mended:
            _log.warning("passwords replaced", tenant_id=tenant.tenant_id, services=mended)
            await running.save(0.01, "replacing passwords", passwords_replaced=known)
        return known

    async def _find_epochs(self, tenant: TenantRow, stored: Sequence[int]) -> list[EpochRow]:
        """List the epochs, also stored ones that began after the catalog's version was taken.

        Such an epoch continues the one before it. Its first segment says where, and the hashes
        prove it.
        """
        async with self._catalog.connection() as connection:
            if tenant.epoch == 1:
                # No restore began this epoch, so the catalog may lack its row.
                await add_found_epoch(
                    connection, tenant.tenant_id, 1, tenant.created_at, None, BEGINNING
                )
            known = await list_epochs(connection, tenant.tenant_id)
        last = known[-1].epoch
        for number in (one for one in stored if one > known[-1].epoch):
            segments = await self._archive.list(tenant.tenant_id, number)
            if not segments:
                continue
            async with aclosing(self._archive.get(tenant.tenant_id, segments[0])) as pieces:
                header = await SegmentReader(pieces).header()
            _log.warning("epoch found in the storage", tenant_id=tenant.tenant_id, epoch=number)
            async with self._catalog.connection() as connection:
                await add_found_epoch(
                    connection, tenant.tenant_id, number, segments[0].written_at, last, header.after
                )
            last = number
        async with self._catalog.connection() as connection:
            return await list_epochs(connection, tenant.tenant_id)

    async def _load_backup(
        self, running: Running, tenant: TenantRow, epochs: Sequence[EpochRow]
    ) -> tuple[Plan, datetime, list[str]]:
        """Load the newest backup that is whole; more segments stand in for a damaged one.

        Returns:
            The plan, the instant that it stands for, and the ids of damaged backups.
        """
        damaged: list[str] = list(running.state.get("damaged", []))
        while True:
            plan, instant = await self._plan(tenant, epochs, damaged)
            try:
                await self._rebuild.load_backup(
                    running, tenant.database_name, new_passwords(), plan
                )
            except (DamagedError, NotStoredError) as error:
                if plan.base is None:
                    raise
                _log.error("backup damaged", tenant_id=tenant.tenant_id, fault=str(error))
                damaged.append(str(plan.base.backup_id))
                await running.save(0.05, "continuing without a damaged backup", damaged=damaged)
            else:
                return plan, instant, damaged

    async def _plan(
        self, tenant: TenantRow, epochs: Sequence[EpochRow], damaged: Sequence[str]
    ) -> tuple[Plan, datetime]:
        """Plan to restore all there is, and give the instant that this stands for."""
        async with self._catalog.connection() as connection:
            bases = [
                base
                for base in await list_bases(connection, tenant.tenant_id)
                if str(base.backup_id) not in damaged
            ]
        # The lost server's clock may have been ahead: no epoch and no backup may be later.
        instant = max(
            datetime.now(UTC),
            *(epoch.started_at for epoch in epochs),
            *(base.created_at for base in bases),
        )
        plan = plan_for_instant(epochs, bases, instant)
        if plan is None:
            raise RuntimeError("a tenant with an epoch has a ledger")
        return plan, instant

    async def _open(
        self,
        running: Running,
        tenant: TenantRow,
        plan: Plan,
        new_epoch: int,
        instant: datetime,
        rebuilt: Rebuilt,
    ) -> None:
        """Set the services' passwords and begin the epoch, in one transaction."""
        name = tenant.database_name
        async with (
            self._catalog.connection() as connection,
            locked(connection, Lock.TENANT, tenant.tenant_id),
            connection.transaction(),
        ):
            await running.hold(connection)
            passwords = await find_passwords(connection, self._key_ring, name)
            await set_passwords(connection, name, passwords)
            await record_found(connection, tenant.tenant_id, plan.epoch, rebuilt.end)
            if not await swap(
                connection, tenant, name, new_epoch, plan=plan, instant=instant, rebuilt=rebuilt
            ):
                raise NotFound("the tenant was restored otherwise meanwhile")

    async def _give_up(self, running: Running, tenant: TenantRow) -> None:
        """Drop the database of a failed operation, if that can be done now."""
        if "database" not in running.state:
            return
        with suppress(DomainError, OSError, TimeoutError, asyncpg.PostgresError):
            async with self._catalog.connection() as connection:
                found = await find_tenant(connection, tenant.tenant_id)
            if found is not None and found.recovering:
                await self._databases.drop(tenant.database_name)
