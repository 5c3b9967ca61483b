"""Replays archived segments into a new database: as many epochs' as a plan says, and no more."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime

from freehold.contracts.problems import unavailable
from freehold.ledger import client as ledger
from freehold.ledger.client import Connection
from freehold.tenancy.catalog import Catalog
from freehold_tenant_manager.archive.segments import (
    BEGINNING,
    Position,
    Replayed,
    Segment,
    SegmentError,
    SegmentReader,
    replay,
    stage,
)
from freehold_tenant_manager.archive.store import Archive, Archived
from freehold_tenant_manager.catalog.epochs import list_epochs
from freehold_tenant_manager.operations import Tell
from freehold_tenant_manager.restore.history import Leg, Plan
from freehold_tenant_manager.storage.objects import NotStoredError
from freehold_tenant_manager.storage.pieces import pieces_of

_BATCH_EVENTS = 50_000
_AHEAD_MAX = 8
_AHEAD_BYTES_MAX = 1024 * 1024
_HELD_BYTES_MAX = 8 * 1024 * 1024
_LISTINGS = 2


@dataclass(frozen=True, slots=True)
class Restored:
    """Where a restored ledger ends."""

    end: Position
    last_recorded_at: datetime
    segments: int


class Replaying:
    """Replays what the archive has."""

    def __init__(self, catalog: Catalog, archive: Archive, *, timeout_s: float) -> None:
        """Set up.

        Args:
            catalog: Knows how far each epoch is archived.
            archive: Gives segments.
            timeout_s: Bounds each statement.
        """
        self._catalog = catalog
        self._archive = archive
        self._timeout_s = timeout_s

    async def replay(
        self,
        connection: Connection,
        tenant_id: str,
        plan: Plan,
        *,
        until: datetime | None,
        tell: Tell,
    ) -> Restored:
        """Replay the segments after what is there; what was replayed already is left out.

        Args:
            connection: To the new database, as its owner.
            tenant_id: Whose segments.
            plan: Which epochs they are of.
            until: Take nothing that was recorded later.
            tell: Is told which share is done, and what.

        Raises:
            SegmentError, DamagedError, NotStoredError: They are not what the catalog says of them.
            Problem: unavailable, where the archive has changed meanwhile: begin again.
        """
        await stage(connection)
        restored = await _end_of(connection)
        if plan.base is not None and restored.end.seq < plan.base.head_seq:
            raise SegmentError("the backup does not hold what the catalog says of it")
        for leg in plan.legs:
            restored = await self._replay_leg(connection, tenant_id, leg, restored, until, tell)
        return restored

    async def _replay_leg(
        self,
        connection: Connection,
        tenant_id: str,
        leg: Leg,
        restored: Restored,
        until: datetime | None,
        tell: Tell,
    ) -> Restored:
        if leg.through is not None and restored.end.seq > leg.through[0]:
            # Gone on with by another process, it is in a later leg already.
            return restored
        for _ in range(_LISTINGS):
            # Asked before the listing: more may be archived from one moment to the next.
            known = await self._archived(tenant_id, leg)
            segments = await self._list(tenant_id, leg, restored)
            restored, lacking = await self._replay_listed(
                connection, tenant_id, leg, segments, restored, until, tell, known
            )
            if lacking is None:
                return restored
            # What was joined during a listing may be in it in neither form, but is in the next.
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
        tell: Tell,
        known: Position,
    ) -> tuple[Restored, str | None]:
        """Replay segments; say also what is followed by something that they lack, None if all.

        Where none goes beyond what is asked for, the last event and the last change of rules that
        are known to be archived must be among them.
        """
        rules_reached = False

        def lacking(position: Position) -> str | None:
            seq, change = leg.through or (position.seq, position.change)
            if min(seq, position.seq) > restored.end.seq:
                return f"event {restored.end.seq}"
            # Rules that were changed later than is asked for are left out, and so are not missing.
            if min(change, position.change) > restored.end.change and not rules_reached:
                return f"change {restored.end.change} of the rules"
            return None

        done, events = 0, sum(segment.last_seq - segment.first_seq + 1 for segment in segments)
        async with aclosing(self._read_ahead(tenant_id, segments)) as batches:
            async for batch in batches:
                if (gap := lacking(batch[0][0].after)) is not None:
                    return restored, gap
                replayed = await replay(
                    connection,
                    [reader for _, reader in batch],
                    until=until,
                    through=leg.through,
                    timeout_s=self._timeout_s,
                )
                done += sum(segment.events for segment, _ in batch)
                restored = _after(restored, replayed, len(batch))
                await tell(
                    min(1, done / max(1, events)), f"replayed up to event {restored.end.seq}"
                )
                if replayed.reached:
                    return restored, None
                rules_reached = rules_reached or replayed.rules_reached
        return restored, lacking(known)

    async def _archived(self, tenant_id: str, leg: Leg) -> Position:
        """Say how far the epoch of a leg is archived at least."""
        async with self._catalog.connection() as connection:
            epochs = {epoch.epoch: epoch for epoch in await list_epochs(connection, tenant_id)}
        return epochs[leg.epoch].archived if leg.epoch in epochs else BEGINNING

    async def _read_ahead(
        self, tenant_id: str, segments: Sequence[Archived]
    ) -> AsyncGenerator[list[tuple[Segment, SegmentReader]], None]:
        """Give segments whose headers are read, several together where they are small.

        Small ones are fetched ahead of their turn: each takes a storage's time to answer.
        """
        fetching: dict[str, asyncio.Task[bytes | None]] = {}
        batch: list[tuple[Segment, SegmentReader]] = []
        try:
            for place, archived in enumerate(segments):
                for ahead in segments[place : place + _AHEAD_MAX]:
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
            # Small ones are joined now and then: a new listing has them in a large one.
            raise unavailable(f"the archive has changed: {error}") from error


def _after(restored: Restored, replayed: Replayed, segments: int) -> Restored:
    return Restored(replayed.end, replayed.last_recorded_at, restored.segments + segments)


def _belongs(batch: Sequence[tuple[Segment, SegmentReader]], segment: Segment) -> bool:
    """Say whether a segment can be replayed together with a batch: it follows, and adds little."""
    events = sum(earlier.events for earlier, _ in batch)
    return segment.after == batch[-1][0].end and events + segment.events <= _BATCH_EVENTS


async def _end_of(connection: Connection) -> Restored:
    head = await ledger.head(connection)
    change = await connection.fetchval("SELECT coalesce(max(change_id), 0) FROM rule_changes")
    return Restored(Position(head.seq, head.event_id, head.hash, change), head.recorded_at, 0)
