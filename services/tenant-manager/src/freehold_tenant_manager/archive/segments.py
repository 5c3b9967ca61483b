"""Segments: what a ledger gained between two positions, written as bytes and replayed from them.

A segment names the position it follows and the one it ends at, each with the hash there. So a
sequence of segments proves by itself that none is missing and all are of one history.

The bytes are frames. H is the header, as JSON, and comes first. E, K and R hold events, idempotency
keys and changes of rules, in any number of frames each and in any order.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection
from freehold_tenant_manager.archive.frames import FRAME, FrameError, FrameReader, copied, frame

_QUERIES = load_queries("freehold_tenant_manager.archive", "queries.sql")

FORMAT = 1

_COLUMNS = {
    b"E": (
        *("event_id", "seq", "account_id", "transaction_time", "recorded_at", "event_type"),
        *("amount_minor", "currency", "transaction_id", "reverses_event_id", "refunds_event_id"),
        *("external_id", "metadata", "hash", "hold_id", "held_minor", "hold_expires_at"),
    ),
    b"K": ("idempotency_key", "fingerprint", "first_event_id", "last_event_id", "expires_at"),
    b"R": ("change_id", "changed_at", "kind", "subject", "terms"),
}
_TABLES = {b"E": "staged_events", b"K": "staged_keys", b"R": "staged_rules"}


class SegmentError(Exception):
    """A segment cannot be taken or replayed; the message says why and shows no content."""


@dataclass(frozen=True, slots=True)
class Position:
    """A position in a ledger: after an event, and after a change of its rules."""

    seq: int
    event_id: UUID
    hash: bytes
    change: int


BEGINNING = Position(0, UUID(int=0), bytes(32), 0)


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment's header."""

    tenant_id: str
    epoch: int
    after: Position
    end: Position
    first_recorded_at: datetime | None
    last_recorded_at: datetime | None

    @property
    def events(self) -> int:
        """How many events it has."""
        return self.end.seq - self.after.seq

    @property
    def name(self) -> str:
        """The object's name. Names sort as the segments follow each other."""
        return f"{self.after.seq + 1:019d}-{self.end.seq:019d}-{self.end.change:010d}"

    def header(self) -> bytes:
        """Write the header's JSON."""
        columns = {kind.decode(): names for kind, names in _COLUMNS.items()}
        return orjson.dumps({"format": FORMAT, **asdict(self), "columns": columns}, default=_json)


async def find_segment(
    connection: Connection, tenant_id: str, epoch: int, after: Position, events_max: int
) -> Segment | None:
    """Find the segment that follows a position; None if the ledger has not grown.

    Args:
        connection: As the role that makes backups, in a repeatable-read transaction.
        tenant_id: The ledger's tenant.
        epoch: The ledger's epoch.
        after: Where the last segment ended.
        events_max: How many events the segment has at most; an append is never cut in two.

    Raises:
        SegmentError: The ledger differs from what was archived of it.
    """
    row = await connection.fetchrow("SELECT * FROM segment_end($1, $2)", after.event_id, events_max)
    if row is None or row["after_seq"] != after.seq or row["after_hash"] != after.hash:
        raise SegmentError(f"the ledger's event {after.seq} is not the one that was archived")
    change = row["last_change"]
    if row["last_seq"] - after.seq >= events_max:
        # The last segment may have changes of rules that are later than this one's end.
        change = max(change, after.change)
    end = Position(row["last_seq"], row["last_event_id"], row["last_hash"], change)
    if end.seq < after.seq or end.change < after.change:
        raise SegmentError(f"the ledger ends before the event {after.seq}, which was archived")
    if (end.seq, end.change) == (after.seq, after.change):
        return None
    first, last = (
        (row["first_recorded_at"], row["last_recorded_at"]) if end.seq > after.seq else (None, None)
    )
    return Segment(tenant_id, epoch, after, end, first, last)


async def take(connection: Connection, segment: Segment) -> AsyncGenerator[bytes, None]:
    """Give a segment's bytes, in the transaction that found it; memory stays flat."""
    yield frame(b"H", segment.header())
    ids = (segment.after.event_id, segment.end.event_id)
    changes = (segment.after.change, segment.end.change)
    for kind, function, bounds in (
        (b"E", "segment_events", ids),
        (b"K", "segment_keys", ids),
        (b"R", "segment_rules", changes),
    ):
        if bounds[0] == bounds[1]:
            continue
        query = f"SELECT {', '.join(_COLUMNS[kind])} FROM {function}($1, $2)"  # noqa: S608 (our own names)
        async with aclosing(copied(connection, query, *bounds)) as pieces:
            async for piece in pieces:
                yield frame(kind, piece)


class SegmentReader(FrameReader):
    """Reads a segment from pieces of any size."""

    async def header(self) -> Segment:
        """Read the header, which comes first.

        Raises:
            SegmentError: There is none, or it needs a later release.
        """
        content = await self.take(b"H")
        if content is None:
            raise SegmentError("a segment does not begin with its header")
        segment, self.columns = _read_header(content)
        return segment

    async def kind(self) -> bytes | None:
        """Give the kind of the next frame; None at the end.

        Raises:
            SegmentError: The segment is cut off.
        """
        try:
            return await super().kind()
        except FrameError as error:
            raise SegmentError(f"a segment is cut off: {error}") from error


@dataclass(frozen=True, slots=True)
class Replayed:
    """Where a replay ended, and whether it stopped at its limit.

    Changes of rules reach their limit on their own: a segment may have some that are later than
    its events.
    """

    end: Position
    last_recorded_at: datetime
    reached: bool
    rules_reached: bool


async def stage(connection: Connection) -> None:
    """Make the temporary tables that segments are copied into; once for each connection."""
    await connection.execute("SELECT stage_segments()")


async def replay(
    connection: Connection,
    readers: Sequence[SegmentReader],
    *,
    until: datetime | None,
    through: tuple[int, int | None] | None,
) -> Replayed:
    """Add segments to a ledger in one transaction; their headers have been read.

    Args:
        connection: As the ledger's owner, and staged.
        readers: Segments of which each begins where the one before it ends.
        until: Leave out what was recorded later.
        through: Leave out what follows this event and this change of rules; a change of None
            stands for the last one made before the event.

    Raises:
        SegmentError: They do not follow the ledger's end, or their hashes are wrong.
    """
    async with connection.transaction():
        for reader in readers:
            await _copy_in(connection, reader)
        seq, change = through or (None, None)
        if seq is not None and change is None:
            # Still None if the event is in a later segment: then no limit is reached here.
            change = await connection.fetchval(_QUERIES["last_change_before"], seq)
        try:
            (row,) = await connection.fetch(_QUERIES["replay_staged"], until, seq, change)
        except asyncpg.DataError as error:
            raise SegmentError(str(error)) from error
    return Replayed(
        Position(row["last_seq"], row["last_event_id"], row["last_hash"], row["last_change"]),
        row["last_recorded_at"],
        row["reached"],
        row["rules_reached"],
    )


async def _copy_in(connection: Connection, reader: SegmentReader) -> None:
    while (kind := await reader.kind()) is not None:
        if kind not in _TABLES:
            raise SegmentError("a segment has a frame of an unknown kind")
        await connection.copy_to_table(
            _TABLES[kind],
            schema_name="pg_temp",
            source=reader.section(kind),
            columns=reader.columns[kind],
            format="text",
        )


def merge(contents: Sequence[bytes]) -> tuple[Segment, bytes] | None:
    """Make one segment of several; None if one does not follow the other or has other columns.

    Raises:
        SegmentError: One is no segment.
    """
    parts: list[Segment] = []
    bodies: list[bytes] = []
    common: dict[bytes, list[str]] | None = None
    for content in contents:
        if len(content) < FRAME.size or content[:1] != b"H":
            raise SegmentError("a segment does not begin with its header")
        body = FRAME.size + int(FRAME.unpack_from(content)[1])
        segment, columns = _read_header(content[FRAME.size : body])
        if (common or columns) != columns or (parts and parts[-1].end != segment.after):
            return None
        common = columns
        parts.append(segment)
        bodies.append(content[body:])
    with_events = [part for part in parts if part.events] or parts
    merged = replace(
        parts[0],
        end=parts[-1].end,
        first_recorded_at=with_events[0].first_recorded_at,
        last_recorded_at=with_events[-1].last_recorded_at,
    )
    return merged, frame(b"H", merged.header()) + b"".join(bodies)


def _read_header(text: bytes) -> tuple[Segment, dict[bytes, list[str]]]:
    header = orjson.loads(text)
    if header["format"] != FORMAT:
        raise SegmentError(f"a segment of format {header['format']} needs a later release")
    columns: dict[bytes, list[str]] = {
        kind.encode(): names for kind, names in header["columns"].items()
    }
    segment = Segment(
        header["tenant_id"],
        header["epoch"],
        _position(header["after"]),
        _position(header["end"]),
        _time(header["first_recorded_at"]),
        _time(header["last_recorded_at"]),
    )
    return segment, columns


def _json(value: object) -> str:
    # Ids are asyncpg's own subclass of UUID, which orjson does not know.
    return value.hex() if isinstance(value, bytes) else str(value)


def _position(found: dict[str, Any]) -> Position:
    return Position(
        found["seq"], UUID(found["event_id"]), bytes.fromhex(found["hash"]), found["change"]
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
