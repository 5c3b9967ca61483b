"""The schedule: which backups are made, verified and removed by themselves.

Every process asks the catalog what is due; if several ask for the same backup, it is made once. At
most two are asked for at a time, so an operator's own request need not wait for all of them.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog

from freehold.ledger.client import Connection
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.archive.epochs import list_bases, list_epochs
from freehold_tenant_manager.archive.history import plans_since
from freehold_tenant_manager.backups.store import (
    Superfluous,
    condemn_backup,
    count_asked,
    forget_backup,
    list_due_backups,
    list_due_verifications,
    list_superfluous,
)
from freehold_tenant_manager.dumps.scratch import sweep_scratch
from freehold_tenant_manager.metrics import BACKUPS_REMOVED
from freehold_tenant_manager.operations.kinds import BACKUP, BACKUP_VERIFICATION
from freehold_tenant_manager.operations.operations import Operations
from freehold_tenant_manager.storage.objects import Storage, StorageError
from freehold_tenant_manager.tenants.store import find_tenant

_log = structlog.get_logger(__name__)

_AT_ONCE_MAX = 2
_RETRY_S = 3_600.0
# Longer than any dump takes.
_ABANDONED_S = 2 * 86_400.0
_DAY_S = 86_400.0


class BackupSchedule:
    """Asks for what is due, and removes what is no longer needed."""

    def __init__(
        self,
        catalog: Catalog,
        operations: Operations,
        storage: Storage,
        require_shipped: Callable[[], Awaitable[None]],
        *,
        every_s: float,
        verify_every_s: float,
        keep_days: float,
    ) -> None:
        """Set what is due when.

        Args:
            catalog: Knows the backups.
            operations: Makes and verifies them.
            storage: Holds them.
            require_shipped: Raises unless the storage has a recent version of the catalog.
            every_s: The age of a tenant's last backup at which the next is due; 0 for never.
            verify_every_s: The same for the verification of their newest backup; 0 for never.
            keep_days: How far back every second stays restorable; older backups are removed.
        """
        self._catalog = catalog
        self._operations = operations
        self._storage = storage
        self._require_shipped = require_shipped
        self._every_s = every_s
        self._verify_every_s = verify_every_s
        self._keep_s = keep_days * _DAY_S

    async def ask_for_due(self) -> bool:
        """Ask for some of what is due; False: there is no more now.

        Raises:
            Unavailable: The catalog does not answer.
            ClocksDisagree: A backup with a later date would put off the next one.
        """
        self._catalog.agreed_now()
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
            await self._operations.submit(BACKUP, tenant_id)
        for tenant_id, backup_id in verifications:
            wanted = {"backup_id": str(backup_id)}
            await self._operations.submit(BACKUP_VERIFICATION, tenant_id, wanted)
        return False

    async def remove_old(self) -> bool:
        """Remove what was kept long enough; False: there is no more now.

        Raises:
            Unavailable: The catalog does not answer, or is not shipped.
            ClocksDisagree: No clock that another one contradicts removes anything.
        """
        self._catalog.agreed_now()
        await self._require_shipped()
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
            # The object goes first: it is found by its row alone.
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

    async def _is_needed(self, connection: Connection, backup: Superfluous) -> bool:
        """Say whether a promised restore begins with a backup: one to an earlier epoch may."""
        if backup.status != "complete":
            return False
        tenant = await find_tenant(connection, backup.tenant_id)
        if tenant is None or tenant.status == "deleted":
            return False
        epochs = await list_epochs(connection, backup.tenant_id)
        backups = await list_bases(connection, backup.tenant_id)
        horizon = self._catalog.agreed_now() - timedelta(seconds=self._keep_s)
        plans = plans_since(epochs, backups, horizon) or []
        return any(plan.base and plan.base.backup_id == backup.backup_id for plan in plans)
