"""Replays archived segments into a restore database, as far as a plan says."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from freehold.contracts.errors import Unavailable
from freehold.database.queries import load_queries
from freehold.ledger import client as ledger
from freehold.ledger.client import Connection
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.archive.epochs import list_epochs
from freehold_tenant_manager.archive.history import Leg, Plan
from freehold_tenant_manager.archive.segments import (
    BEGINNING,
    Position,
    Segment,
    SegmentError,
    SegmentReader,
    replay,
    stage,
)
from freehold_tenant_manager.archive.store import Archive, Archived
from freehold_tenant_manager.operations.operations import Report
from freehold_tenant_manager.storage.objects import NotStoredError
from freehold_tenant_manager.storage.pieces import pieces_of

_QUERIES = load_queries("freehold_tenant_manager.restore", "queries.sql")

_BATCH_EVENTS = 50_000
_AHEAD_MAX = 8
_AHEAD_BYTES_MAX = 1024 * 1024
_HELD_BYTES_MAX = 8 * 1024 * 1024
_LISTINGS = 2


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a restored ledger ends, and how many segments were replayed."""

    end: Position
    last_recorded_at: datetime
    segments: int


class Replay:
    """Replays a tenant's segments."""

    def __init__(self, catalog: Catalog, archive: Archive) -> None:
        """Set up: the catalog knows how far each epoch is archived, the archive gives segments."""
        self._catalog = catalog
        self._archive = archive

    async def replay(
        self,
        connection: Connection,
        tenant_id: str,
        plan: Plan,
        *,
        until: datetime | None,
        report: Report,
    ) -> Restored:
        """Replay the segments that follow what the database already has.

        Args:
            connection: To the restore database, as its owner.
            tenant_id: The segments' tenant.
            plan: The epochs to replay.
            until: Leave out what was recorded later.
            report: Called with the progress of each leg, from 0 to 1.

        Raises:
            SegmentError, DamagedError, NotStoredError: The segments are not what the catalog says.
            Unavailable: The archive changed meanwhile: begin again.
        """
        await stage(connection)
        restored = await _end_of(connection)
        if plan.base is not None and restored.end.seq < plan.base.head_seq:
            raise SegmentError("the backup does not hold what the catalog says of it")
        for leg in plan.legs:
            if leg.through is not None and restored.end.seq > leg.through[0]:
                # An earlier try is already in a later leg.
                continue
            restored = await self._replay_leg(connection, tenant_id, leg, restored, until, report)
        return restored

    async def _replay_leg(
        self,
        connection: Connection,
        tenant_id: str,
        leg: Leg,
        restored: Restored,
        until: datetime | None,
        report: Report,
    ) -> Restored:
        for _ in range(_LISTINGS):
            # Read before the listing, since the archive grows all the time.
            known = await self._archived(tenant_id, leg)
            segments = await self._list(tenant_id, leg, restored)
            restored, lacking = await self._replay_listed(
                connection, tenant_id, leg, segments, restored, until, report, known
            )
            if lacking is None:
                return restored
            # A compaction during the listing may hide segments in both forms; the next has them.
        raise SegmentError(f"the archive lacks what follows {lacking}")

    async def _list(self, tenant_id: str, leg: Leg, restored: Restored) -> list[Archived]:
        return [
            segment
            for segment in await self._archive.list(tenant_id, leg.epoch)
            if (segment.last_seq >= restored.end.seq or segment.last_change > restored.end.change)
            and (leg.through is None or segment.first_seq <= leg.through[0] + 1)
        ]

    async def _replay_listed(
        self,
        connection: Connection,
        tenant_id: str,
        leg: Leg,
        segments: Sequence[Archived],
        restored: Restored,
        until: datetime | None,
        report: Report,
        known: Position,
    ) -> tuple[Restored, str | None]:
        """Replay listed segments; also give what a missing segment should have followed.

        Unless a limit is reached, the segments must contain the last event and the last change of
        rules that the catalog knows to be archived.
        """
        rules_reached = False

        def lacking(position: Position) -> str | None:
            seq, change = leg.through or (position.seq, None)
            change = position.change if change is None else change
            if min(seq, position.seq) > restored.end.seq:
                return f"event {restored.end.seq}"
            # Changes of rules beyond the limit are left out, so they are not missing.
            if min(change, position.change) > restored.end.change and not rules_reached:
                return f"change {restored.end.change} of the rules"
            return None

        done, events = 0, sum(segment.last_seq - segment.first_seq + 1 for segment in segments)
        async with aclosing(self._read_ahead(tenant_id, segments)) as batches:
            async for batch in batches:
                if (gap := lacking(batch[0][0].after)) is not None:
                    return restored, gap
                readers = [reader for _, reader in batch]
                replayed = await replay(connection, readers, until=until, through=leg.through)
                done += sum(segment.events for segment, _ in batch)
                restored = Restored(
                    replayed.end, replayed.last_recorded_at, restored.segments + len(batch)
                )
                await report(
                    min(1, done / max(1, events)), f"replayed up to event {restored.end.seq}"
                )
                if replayed.reached:
                    return restored, None
                rules_reached = rules_reached or replayed.rules_reached
        return restored, lacking(known)

    async def _archived(self, tenant_id: str, leg: Leg) -> Position:
        """Give the position up to which a leg's epoch is archived at least."""
        async with self._catalog.connection() as connection:
            epochs = {epoch.epoch: epoch for epoch in await list_epochs(connection, tenant_id)}
        return epochs[leg.epoch].archived if leg.epoch in epochs else BEGINNING

    async def _read_ahead(
        self, tenant_id: str, segments: Sequence[Archived]
    ) -> AsyncGenerator[list[tuple[Segment, SegmentReader]], None]:
        """Give segments whose headers are read; small ones that follow each other in one batch.

        Up to eight small segments are fetched ahead, since each fetch waits for the storage.
        """
        fetching: dict[str, asyncio.Task[bytes | None]] = {}
        batch: list[tuple[Segment, SegmentReader]] = []
        try:
            for index, archived in enumerate(segments):
                for ahead in segments[index : index + _AHEAD_MAX]:
                    if ahead.bytes <= _AHEAD_BYTES_MAX and ahead.path not in fetching:
                        fetching[ahead.path] = asyncio.create_task(self._fetch(tenant_id, ahead))
                content = await fetching[archived.path] if archived.path in fetching else None
                fetching.pop(archived.path, None)
                reader = SegmentReader(
                    self._archive.get(tenant_id, archived)
                    if content is None
                    else pieces_of(content)
                )
                segment = await reader.header()
                if batch and not _belongs(batch, segment):
                    yield batch
                    batch = []
                batch.append((segment, reader))
            if batch:
                yield batch
        finally:
            for task in fetching.values():
                task.cancel()
            await asyncio.gather(*fetching.values(), return_exceptions=True)

    async def _fetch(self, tenant_id: str, segment: Archived) -> bytes | None:
        try:
            return await self._archive.fetch(tenant_id, segment, bytes_max=_HELD_BYTES_MAX)
        except NotStoredError as error:
            # A compaction replaced it by a larger one, which a new listing has.
            raise Unavailable(f"the archive has changed: {error}") from error


def _belongs(batch: Sequence[tuple[Segment, SegmentReader]], segment: Segment) -> bool:
    """Say whether a segment fits into a batch: it follows, and adds few events."""
    events = sum(earlier.events for earlier, _ in batch)
    return segment.after == batch[-1][0].end and events + segment.events <= _BATCH_EVENTS


async def _end_of(connection: Connection) -> Restored:
    head = await ledger.head(connection)
    change: int = await connection.fetchval(_QUERIES["last_change"])
    return Restored(Position(head.seq, head.event_id, head.hash, change), head.recorded_at, 0)
