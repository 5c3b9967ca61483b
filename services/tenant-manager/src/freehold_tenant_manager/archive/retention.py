"""Retention of the archive: segments go once no restore that is still promised needs them.

Promised is every second since the horizon. Which backups stay for that is decided elsewhere; what
they make superfluous goes here, and nothing where there is no backup to begin with. Of a tenant who
was deleted before the horizon nothing is promised, and all of it goes.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from freehold.tenancy.catalog import Catalog
from freehold_tenant_manager.archive.store import Archive
from freehold_tenant_manager.catalog.epochs import forget_epochs, list_bases, list_epochs
from freehold_tenant_manager.metrics import ARCHIVE_REMOVED
from freehold_tenant_manager.restore.history import Base, EpochRow, plans_since
from freehold_tenant_manager.storage.objects import StorageError

_log = structlog.get_logger(__name__)


class ArchiveRetention:
    """Removes segments; safe to run in several processes at once."""

    def __init__(self, catalog: Catalog, archive: Archive, *, keep_s: float) -> None:
        """Say how far back every second stays restorable."""
        self._catalog = catalog
        self._archive = archive
        self._keep_s = keep_s

    async def remove_old(self) -> bool:
        """Remove what is not needed any more, of all tenants.

        Raises:
            Problem: unavailable, where the catalog does not answer.
        """
        horizon = datetime.now(UTC) - timedelta(seconds=self._keep_s)
        rows = await self._catalog.fetch(
            "SELECT DISTINCT e.tenant_id, t.status = 'deleted' AND t.deleted_at < $1 AS is_over"
            " FROM tenant_epochs AS e INNER JOIN tenants AS t ON t.tenant_id = e.tenant_id"
            " WHERE e.started_at < $1",
            horizon,
        )
        for row in rows:
            try:
                if row["is_over"]:
                    await self._remove_all(row["tenant_id"])
                else:
                    await self.remove_of(row["tenant_id"], horizon)
            except StorageError as error:
                _log.warning(
                    "segments not removed yet", tenant_id=row["tenant_id"], fault=str(error)
                )
        return False

    async def remove_of(self, tenant_id: str, horizon: datetime) -> int:
        """Remove a tenant's segments that nothing since the horizon needs; say how many.

        Raises:
            Problem: unavailable, where the catalog does not answer.
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
                # One that ends there may tell of changes of rules that came after it.
                if segment.written_at < horizon and (
                    after_seq is None or segment.last_seq < after_seq
                ):
                    await self._archive.delete(segment)
                    removed += 1
        ARCHIVE_REMOVED.inc(removed)
        return removed

    async def _remove_all(self, tenant_id: str) -> None:
        """Remove the whole archive of a tenant who was deleted long ago.

        The epochs are forgotten last: without their rows nobody would ever look for segments again.
        """
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
    """Say after which event of each epoch segments are needed to restore every instant since.

    Epochs that are not in the answer are not needed; None where nothing can be said.
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
