"""The schedule: which backups are made, verified and removed without anybody asking.

Every process looks, and the catalog says what is due: of several that ask for the same one is done.
Only so many are asked for at once, and whoever asks by hand need not wait for all of them.
"""

import structlog

from freehold.tenancy.catalog import Catalog
from freehold_tenant_manager.catalog.backups import (
    condemn_backups,
    count_asked,
    forget_backup,
    list_due_backups,
    list_due_verifications,
)
from freehold_tenant_manager.metrics import BACKUPS_REMOVED
from freehold_tenant_manager.operations import Operations
from freehold_tenant_manager.scratch import sweep_scratch
from freehold_tenant_manager.storage import Storage, StorageError

_log = structlog.get_logger(__name__)

_AT_ONCE_MAX = 2
_RETRY_S = 3_600.0
_REMOVED_AT_ONCE_MAX = 100
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
        """Remove some of what was kept long enough; answers whether there may be more.

        Raises:
            Problem: unavailable, where the catalog does not answer.
        """
        async with self._catalog.connection() as connection:
            condemned = await condemn_backups(
                connection,
                keep_s=self._keep_s,
                abandoned_s=_ABANDONED_S,
                rows_max=_REMOVED_AT_ONCE_MAX,
            )
        removed = 0
        for backup in condemned:
            # The object goes first: without its row nobody would ever look for it again.
            try:
                await self._storage.delete(backup.object_path)
            except StorageError as error:
                _log.warning("backup not removed yet", path=backup.object_path, fault=str(error))
                continue
            async with self._catalog.connection() as connection:
                await forget_backup(connection, backup.backup_id)
            removed += 1
        BACKUPS_REMOVED.inc(removed)
        async with self._catalog.connection() as connection:
            await sweep_scratch(connection)
        await self._storage.sweep(older_than_s=_ABANDONED_S)
        return removed == _REMOVED_AT_ONCE_MAX
