"""Compaction: many small segments become one larger one, which lists and restores faster.

The larger segment is stored before the small ones are deleted. A restore may meet both: a segment
that was replayed already does no harm.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from freehold.contracts.errors import DomainError
from freehold.database.queries import load_queries
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.archive.segments import SegmentError, merge
from freehold_tenant_manager.archive.store import Archive, Archived
from freehold_tenant_manager.metrics import ARCHIVE_JOINED
from freehold_tenant_manager.storage.objects import StorageError
from freehold_tenant_manager.storage.pieces import pieces_of
from freehold_tenant_manager.storage.vault import DamagedError

_log = structlog.get_logger(__name__)

_QUERIES = load_queries("freehold_tenant_manager.archive", "queries.sql")
# By then no restore reads a segment that it listed before.
_AGE_MIN_S = 3_600.0
_SMALL_BYTES = 64 * 1024
_MERGED_BYTES_MAX = 1024 * 1024
_MERGED_MIN = 16
_HELD_BYTES_MAX = 16 * 1024 * 1024


class Compaction:
    """Merges small segments of all tenants; several processes may do so at once."""

    def __init__(self, catalog: Catalog, archive: Archive, *, events_max: int) -> None:
        """Set up; `events_max` bounds the events of a merged segment."""
        self._catalog = catalog
        self._archive = archive
        self._events_max = events_max

    async def compact_old(self) -> bool:
        """Merge every tenant's small segments that are an hour old; False: there is no more now.

        Raises:
            Unavailable: The catalog does not answer.
        """
        before = datetime.now(UTC) - timedelta(seconds=_AGE_MIN_S)
        for row in await self._catalog.fetch(_QUERIES["list_compactable"]):
            try:
                await self.compact(row["tenant_id"], row["epoch"], before)
            except (StorageError, DamagedError, SegmentError, DomainError) as error:
                _log.warning("segments not joined", tenant_id=row["tenant_id"], fault=str(error))
        return False

    async def compact(self, tenant_id: str, epoch: int, before: datetime) -> int:
        """Merge an epoch's small segments written before a time; give their number.

        Raises:
            StorageError, DamagedError, SegmentError: One of them cannot be read or stored.
            Unavailable: The tenant's data key cannot be had.
        """
        segments = await self._archive.list(tenant_id, epoch)
        count = 0
        for run in runs(segments, before, events_max=self._events_max):
            contents = await self._fetch(tenant_id, run)
            merged = None if contents is None else merge(contents)
            if merged is None:
                continue
            segment, content = merged
            await self._archive.put(tenant_id, epoch, segment.name, pieces_of(content))
            for one in run:
                # Segments with changes of rules alone merge into one with the last one's name.
                if not one.path.endswith(f"/{segment.name}"):
                    await self._archive.delete(one)
            count += len(run)
        ARCHIVE_JOINED.inc(count)
        return count

    async def _fetch(self, tenant_id: str, run: Sequence[Archived]) -> list[bytes] | None:
        """Give the segments' bytes; None if they exceed what memory may hold."""
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
    """Choose the segments to merge: runs of at least 16 small ones that follow each other."""
    found: list[list[Archived]] = []
    run: list[Archived] = []
    for segment in segments:
        is_small = segment.bytes <= _SMALL_BYTES and segment.written_at < before
        if not (is_small and run and _fits(run, segment, events_max)):
            found.append(run)
            run = []
        if is_small:
            run.append(segment)
    return [run for run in [*found, run] if len(run) >= _MERGED_MIN]


def _fits(run: Sequence[Archived], segment: Archived, events_max: int) -> bool:
    return (
        segment.first_seq == run[-1].last_seq + 1
        and segment.last_seq - run[0].first_seq < events_max
        and segment.bytes + sum(one.bytes for one in run) <= _MERGED_BYTES_MAX
    )
