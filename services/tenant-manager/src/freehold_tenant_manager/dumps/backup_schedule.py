"""The schedule: which backups are made, verified and removed without anybody asking.

Every process looks, and the catalog says what is due: of several that ask for the same one is done.
Only so many are asked for at once, and whoever asks by hand need not wait for all of them.
"""

from datetime import UTC, datetime, timedelta

import structlog

from freehold.ledger.client import Connection
from freehold.tenancy.catalog import Catalog
from freehold_tenant_manager.catalog.backups import (
    BackupRow,
    condemn_backup,
    count_asked,
    forget_backup,
    list_due_backups,
    list_due_verifications,
    list_superfluous,
)
from freehold_tenant_manager.catalog.epochs import list_bases, list_epochs
from freehold_tenant_manager.catalog.tenants import find_tenant
from freehold_tenant_manager.dumps.scratch import sweep_scratch
from freehold_tenant_manager.metrics import BACKUPS_REMOVED
from freehold_tenant_manager.operations import Operations
from freehold_tenant_manager.restore.history import plans_since
from freehold_tenant_manager.storage.objects import Storage, StorageError

_log = structlog.get_logger(__name__)

_AT_ONCE_MAX = 2
_RETRY_S = 3_600.0
# Longer than any dump takes.
_ABANDONED_S = 2 * 86_400.0
_DAY_S = 86_400.0


class BackupSchedule:
    """Asks for what is due, and removes what is not needed any more."""

    def __init__(
        self,
        catalog: Catalog,
        operations: Operations,
        storage: Storage,
        *,
        every_s: float,
        verify_every_s: float,
        keep_days: float,
    ) -> None:
        """Set the periods.

        Args:
            catalog: Knows what there is.
            operations: Does what is due.
            storage: Where backups lie.
            every_s: A tenant is backed up when their last backup is this old; 0 for never.
            verify_every_s: A tenant's newest backup is verified when the last verification is
                this long ago; 0 for never.
            keep_days: How far back every second stays restorable; older backups are removed.
        """
        self._catalog = catalog
        self._operations = operations
        self._storage = storage
        self._every_s = every_s
        self._verify_every_s = verify_every_s
        self._keep_s = keep_days * _DAY_S

    async def ask_for_due(self) -> bool:
        """Ask for some of what is due; never answers that more is waiting.

        Raises:
            Problem: unavailable, where the catalog does not answer.
        """
        async with self._catalog.connection() as connection:
            room = _AT_ONCE_MAX - await count_asked(connection)
            backups = (
                await list_due_backups(
                    connection, every_s=self._every_s, retry_s=_RETRY_S, rows_max=room
                )
                if self._every_s and room > 0
                else []
            )
            room -= len(backups)
            verifications = (
                await list_due_verifications(
                    connection, every_s=self._verify_every_s, retry_s=_RETRY_S, rows_max=room
                )
                if self._verify_every_s and room > 0
                else []
            )
        for tenant_id in backups:
            await self._operations.submit("backup", tenant_id)
        for tenant_id, backup_id in verifications:
            await self._operations.submit(
                "backup-verification", tenant_id, {"backup_id": str(backup_id)}
            )
        return False

    async def remove_old(self) -> bool:
        """Remove what was kept long enough; never answers that more is waiting.

        Raises:
            Problem: unavailable, where the catalog does not answer.
        """
        async with self._catalog.connection() as connection:
            superfluous = await list_superfluous(
                connection, keep_s=self._keep_s, abandoned_s=_ABANDONED_S
            )
        for backup in superfluous:
            async with self._catalog.connection() as connection:
                if await self._is_needed(connection, backup) or not await condemn_backup(
                    connection, backup
                ):
                    continue
            # The object goes first: without its row nobody would ever look for it again.
            try:
                await self._storage.delete(backup.object_path)
            except StorageError as error:
                _log.warning("backup not removed yet", path=backup.object_path, fault=str(error))
                continue
            async with self._catalog.connection() as connection:
                await forget_backup(connection, backup.backup_id)
            BACKUPS_REMOVED.inc()
        async with self._catalog.connection() as connection:
            await sweep_scratch(connection)
        await self._storage.sweep(older_than_s=_ABANDONED_S)
        return False

    async def _is_needed(self, connection: Connection, backup: BackupRow) -> bool:
        """Say whether a restore begins with a backup: in another history than the newer ones."""
        if backup.status != "complete":
            return False
        tenant = await find_tenant(connection, backup.tenant_id)
        if tenant is None or tenant.status == "deleted":
            return False
        epochs = await list_epochs(connection, backup.tenant_id)
        backups = await list_bases(connection, backup.tenant_id)
        horizon = datetime.now(UTC) - timedelta(seconds=self._keep_s)
        plans = plans_since(epochs, backups, horizon) or []
        return any(plan.base and plan.base.backup_id == backup.backup_id for plan in plans)
