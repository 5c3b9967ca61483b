"""Joins segments: a tenant's tiny ones of every second become few, which list and restore faster.

The large one is stored before the small ones go. Until then, and for a restore that still has the
old listing, both are there, and a segment that was replayed already does no harm.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from freehold.contracts.problems import Problem
from freehold.tenancy.catalog import Catalog
from freehold_tenant_manager.archive.segments import SegmentError, joined
from freehold_tenant_manager.archive.store import Archive, Archived
from freehold_tenant_manager.metrics import ARCHIVE_JOINED
from freehold_tenant_manager.storage.objects import StorageError
from freehold_tenant_manager.storage.pieces import pieces_of
from freehold_tenant_manager.storage.vault import DamagedError

_log = structlog.get_logger(__name__)

_AGE_S = 3_600.0
_SMALL_BYTES = 64 * 1024
_JOINED_BYTES_MAX = 1024 * 1024
_JOINED_MIN = 16
_HELD_BYTES_MAX = 16 * 1024 * 1024


class Joining:
    """Joins small segments of all tenants; safe to run in several processes at once."""

    def __init__(self, catalog: Catalog, archive: Archive, *, events_max: int) -> None:
        """Say how many events a joined segment has at most."""
        self._catalog = catalog
        self._archive = archive
        self._events_max = events_max

    async def join_old(self) -> bool:
        """Join what is old enough that nobody reads it in its place any more.

        Raises:
            Problem: unavailable, where the catalog does not answer.
        """
        before = datetime.now(UTC) - timedelta(seconds=_AGE_S)
        # A deleted tenant's are left alone: retention is to find all there is of them.
        rows = await self._catalog.fetch(
            "SELECT e.tenant_id, e.epoch FROM tenant_epochs AS e"
            " INNER JOIN tenants AS t ON t.tenant_id = e.tenant_id WHERE t.status <> 'deleted'"
        )
        for row in rows:
            try:
                await self.join_of(row["tenant_id"], row["epoch"], before)
            except (StorageError, DamagedError, SegmentError, Problem) as error:
                _log.warning("segments not joined", tenant_id=row["tenant_id"], fault=str(error))
        return False

    async def join_of(self, tenant_id: str, epoch: int, before: datetime) -> int:
        """Join an epoch's small segments that were written before a time; say how many there were.

        Raises:
            StorageError, DamagedError, SegmentError: One of them cannot be read or stored.
            Problem: unavailable, where the tenant's data key cannot be had.
        """
        segments = await self._archive.list(tenant_id, epoch)
        count = 0
        for run in runs(segments, before, events_max=self._events_max):
            contents = await self._fetch(tenant_id, run)
            whole = None if contents is None else joined(contents)
            if whole is None:
                continue
            segment, content = whole
            await self._archive.put(tenant_id, epoch, segment.name, pieces_of(content))
            for one in run:
                # Changes of rules alone may be joined under the last one's name.
                if not one.path.endswith(f"/{segment.name}"):
                    await self._archive.delete(one)
            count += len(run)
        ARCHIVE_JOINED.inc(count)
        return count

    async def _fetch(self, tenant_id: str, run: Sequence[Archived]) -> list[bytes] | None:
        """Give the segments' bytes; None where they are too many to be held."""
        contents: list[bytes] = []
        left = _HELD_BYTES_MAX
        for one in run:
            content = await self._archive.fetch(tenant_id, one, bytes_max=left)
            if content is None:
                return None
            contents.append(content)
            left -= len(content)
        return contents


def runs(
    segments: Sequence[Archived], before: datetime, *, events_max: int
) -> list[list[Archived]]:
    """Choose the segments that are worth joining: many small ones that follow each other."""
    found: list[list[Archived]] = []
    run: list[Archived] = []
    for segment in segments:
        is_small = segment.bytes <= _SMALL_BYTES and segment.written_at < before
        if not (is_small and run and _fits(run, segment, events_max)):
            found.append(run)
            run = []
        if is_small:
            run.append(segment)
    return [run for run in [*found, run] if len(run) >= _JOINED_MIN]


def _fits(run: Sequence[Archived], segment: Archived, events_max: int) -> bool:
    return (
        segment.first_seq == run[-1].last_seq + 1
        and segment.last_seq - run[0].first_seq < events_max
        and segment.bytes + sum(one.bytes for one in run) <= _JOINED_BYTES_MAX
    )
