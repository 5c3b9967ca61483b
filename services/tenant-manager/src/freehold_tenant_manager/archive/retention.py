"""Retention of the archive: a segment goes once no promised restore needs it.

Every second since the horizon is promised. backups/schedule.py decides which backups stay; segments
that those make superfluous are removed here. Without a backup to begin with, nothing is removed.
All segments of a tenant who was deleted before the horizon are removed.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog

from freehold.database.queries import load_queries
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.archive.epochs import forget_epochs, list_bases, list_epochs
from freehold_tenant_manager.archive.history import Base, EpochRow, plans_since
from freehold_tenant_manager.archive.store import Archive
from freehold_tenant_manager.metrics import ARCHIVE_REMOVED
from freehold_tenant_manager.storage.objects import StorageError

_log = structlog.get_logger(__name__)

_QUERIES = load_queries("freehold_tenant_manager.archive", "queries.sql")


class ArchiveRetention:
    """Removes segments; several processes may do so at once."""

    def __init__(
        self,
        catalog: Catalog,
        archive: Archive,
        require_shipped: Callable[[], Awaitable[None]],
        *,
        keep_s: float,
    ) -> None:
        """Set up.

        Args:
            catalog: Knows the tenants, their epochs and their backups.
            archive: Holds the segments.
            require_shipped: Raises unless the storage has a recent version of the catalog.
            keep_s: How far back every second stays restorable.
        """
        self._catalog = catalog
        self._archive = archive
        self._require_shipped = require_shipped
        self._keep_s = keep_s

    async def remove_old(self) -> bool:
        """Remove what no tenant needs any more; False: there is no more now.

        Raises:
            Unavailable: The catalog does not answer or is not shipped.
            ClocksDisagree: No clock that another one contradicts removes anything.
        """
        await self._require_shipped()
        horizon = self._catalog.agreed_now() - timedelta(seconds=self._keep_s)
        for row in await self._catalog.fetch(_QUERIES["list_removable"], horizon):
            tenant_id = row["tenant_id"]
            try:
                if row["is_over"]:
                    await self._remove_all(tenant_id)
                else:
                    await self.remove_of(tenant_id, horizon)
            except StorageError as error:
                _log.warning("segments not removed yet", tenant_id=tenant_id, fault=str(error))
        return False

    async def remove_of(self, tenant_id: str, horizon: datetime) -> int:
        """Remove a tenant's segments that no instant since the horizon needs; give their number.

        Raises:
            Unavailable: The catalog does not answer.
            StorageError: The storage does not list or delete them.
        """
        async with self._catalog.connection() as connection:
            epochs = await list_epochs(connection, tenant_id)
            backups = await list_bases(connection, tenant_id)
        needed_after = needed_since(epochs, backups, horizon)
        if needed_after is None:
            return 0
        removed = 0
        for epoch in epochs:
            after_seq = needed_after.get(epoch.epoch)
            for segment in await self._archive.list(tenant_id, epoch.epoch):
                # A segment that ends at `after_seq` may have changes of rules made later.
                if segment.written_at < horizon and (
                    after_seq is None or segment.last_seq < after_seq
                ):
                    await self._archive.delete(segment)
                    removed += 1
        ARCHIVE_REMOVED.inc(removed)
        return removed

    async def _remove_all(self, tenant_id: str) -> None:
        """Remove a deleted tenant's whole archive; their epochs last, by which it is found."""
        async with self._catalog.connection() as connection:
            epochs = await list_epochs(connection, tenant_id)
        for epoch in epochs:
            for segment in await self._archive.list(tenant_id, epoch.epoch):
                await self._archive.delete(segment)
                ARCHIVE_REMOVED.inc()
        async with self._catalog.connection() as connection:
            await forget_epochs(connection, tenant_id)
        _log.info("archive of a deleted tenant removed", tenant_id=tenant_id)


def needed_since(
    epochs: Sequence[EpochRow], backups: Sequence[Base], horizon: datetime
) -> dict[int, int] | None:
    """Say from which event on each epoch's segments are needed, to restore any instant since then.

    Returns:
        The seq of the last event not needed, by epoch; an epoch that is left out is not needed.
        None where this cannot be said.
    """
    needed: dict[int, int] = {}
    plans = plans_since(epochs, backups, horizon)
    if plans is None:
        return None
    for plan in plans:
        for leg in plan.legs:
            is_based = plan.base is not None and plan.base.epoch == leg.epoch
            after_seq = plan.base.head_seq if plan.base is not None and is_based else 0
            needed[leg.epoch] = min(needed.get(leg.epoch, after_seq), after_seq)
    return needed
