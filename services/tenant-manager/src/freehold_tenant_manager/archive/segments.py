"""Segments: what a ledger gained between two positions, as a stream of bytes, and back again.

A segment names the position it follows and the one it ends at, each with the hash there, so that
segments prove by themselves that none is missing and none is another history's.

The bytes are frames: one letter for what they are of, four bytes of length (big-endian), and the
content. H is the header, as JSON, and comes first; E, K and R are events, idempotency keys and
changes of rules as COPY writes them (text format), in any number of frames each and in any order.
"""

import asyncio
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import asyncpg
import orjson

from freehold.ledger.client import Connection

FORMAT = 1
LEDGER_VERSION_MIN = 12
"""The first version of a ledger that segments can be taken from."""

_FRAME = struct.Struct(">cI")
_FRAME_BYTES_MAX = 64 * 1024 * 1024
_QUEUE_MAX = 16

_COLUMNS = {
    b"E": (
        *("event_id", "seq", "account_id", "transaction_time", "recorded_at", "event_type"),
        *("amount_minor", "currency", "transaction_id", "reverses_event_id", "external_id"),
        *("metadata", "hash", "hold_id", "held_minor", "hold_expires_at"),
    ),
    b"K": ("idempotency_key", "fingerprint", "first_event_id", "last_event_id", "expires_at"),
    b"R": ("change_id", "changed_at", "kind", "subject", "terms"),
}
_TABLES = {b"E": "staged_events", b"K": "staged_keys", b"R": "staged_rules"}

COPY_SETTINGS = {"datestyle": "ISO", "timezone": "UTC", "bytea_output": "hex"}
"""What a session is set to that takes or replays segments: the text is the same everywhere."""


class SegmentError(Exception):
    """A segment cannot be taken or replayed; says why, and never what is in it."""


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a ledger: after an event, and after a change of its rules."""

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
        """What it is stored as. Names sort as the segments follow each other."""
        return f"{self.after.seq + 1:019d}-{self.end.seq:019d}-{self.end.change:010d}"

    def header(self) -> bytes:
        """Write it down."""
        return orjson.dumps(
            {
                "format": FORMAT,
                "tenant_id": self.tenant_id,
                "epoch": self.epoch,
                "after": _position_json(self.after),
                "end": _position_json(self.end),
                "first_recorded_at": self.first_recorded_at,
                "last_recorded_at": self.last_recorded_at,
                "columns": {kind.decode(): names for kind, names in _COLUMNS.items()},
            }
        )


async def find_segment(
    connection: Connection, tenant_id: str, epoch: int, after: Position, events_max: int
) -> Segment | None:
    """Say which segment follows a position; None where there is nothing new.

    Args:
        connection: As the role that makes backups, in a transaction whose snapshot stays the same.
        tenant_id: Whose ledger it is.
        epoch: Which of their restores.
        after: Where the last segment ended.
        events_max: How many events it has at most, but for the rest of an append.

    Raises:
        SegmentError: The ledger is not, or no longer, what has been archived of it.
    """
    row = await connection.fetchrow("SELECT * FROM segment_end($1, $2)", after.event_id, events_max)
    if row is None or row["after_seq"] != after.seq or row["after_hash"] != after.hash:
        raise SegmentError(f"the ledger's event {after.seq} is not the one that was archived")
    change = row["last_change"]
    if row["last_seq"] - after.seq >= events_max:
        # Cut off there: what the last segment told of before its time is not told of again.
        change = max(change, after.change)
    end = Position(row["last_seq"], row["last_event_id"], row["last_hash"], change)
    if end.seq < after.seq or end.change < after.change:
        raise SegmentError(f"the ledger ends before the event {after.seq}, which was archived")
    if (end.seq, end.change) == (after.seq, after.change):
        return None
    return Segment(
        tenant_id,
        epoch,
        after,
        end,
        row["first_recorded_at"] if end.seq > after.seq else None,
        row["last_recorded_at"] if end.seq > after.seq else None,
    )


async def take(
    connection: Connection, segment: Segment, *, timeout_s: float
) -> AsyncGenerator[bytes, None]:
    """Give a segment's bytes, in the transaction that found it. Memory stays flat."""
    yield _frame(b"H", segment.header())
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
        async with aclosing(_copied(connection, query, bounds, timeout_s)) as copied:
            async for piece in copied:
                yield _frame(kind, piece)


async def _copied(
    connection: Connection, query: str, arguments: tuple[object, ...], timeout_s: float
) -> AsyncGenerator[bytes, None]:
    """Turn the driver's calls with pieces of a COPY into an iterator that it waits for."""
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUE_MAX)

    left = False

    async def copy() -> None:
        try:
            await connection.copy_from_query(
                query, *arguments, output=pieces.put, timeout=timeout_s, format="text"
            )
        finally:
            if not left:
                await pieces.put(None)

    copying = asyncio.create_task(copy())
    try:
        while (piece := await pieces.get()) is not None:
            yield piece
        await copying
    finally:
        left = True
        if not copying.done():
            copying.cancel()
            connection.terminate()
            await asyncio.gather(copying, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay left: where the ledger ends, and whether it was asked to go no further.

    Changes of rules say so apart from events: one may be told of before events that came earlier.
    """

    end: Position
    last_recorded_at: datetime
    reached: bool
    rules_reached: bool


class SegmentReader:
    """Reads a segment's bytes, whatever pieces they come in."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = bytearray()
        self._next: tuple[bytes, bytes] | None = None

    async def header(self) -> Segment:
        """Read the header, which comes first.

        Raises:
            SegmentError: There is none, or none of a format that this release knows.
        """
        frame = await self._frame()
        if frame is None or frame[0] != b"H":
            raise SegmentError("a segment does not begin with its header")
        segment, self.columns = _read_header(frame[1])
        return segment

    async def kind(self) -> bytes | None:
        """Say what comes next; None where the segment ends."""
        if self._next is None:
            self._next = await self._frame()
        return None if self._next is None else self._next[0]

    async def section(self, kind: bytes) -> AsyncIterator[bytes]:
        """Give the content of the frames of one kind that come next."""
        while await self.kind() == kind:
            if self._next is not None:
                content = self._next[1]
                self._next = None
                yield content

    async def _frame(self) -> tuple[bytes, bytes] | None:
        if not await self._have(_FRAME.size):
            if self._rest:
                raise SegmentError("a segment ends in the middle of a frame")
            return None
        kind, length = _FRAME.unpack(self._rest[: _FRAME.size])
        if length > _FRAME_BYTES_MAX:
            raise SegmentError("a segment has a frame of a size that nobody writes")
        if not await self._have(_FRAME.size + length):
            raise SegmentError("a segment ends in the middle of a frame")
        content = bytes(self._rest[_FRAME.size : _FRAME.size + length])
        del self._rest[: _FRAME.size + length]
        return kind, content

    async def _have(self, length: int) -> bool:
        while len(self._rest) < length:
            piece = await anext(self._pieces, None)
            if piece is None:
                return False
            self._rest += piece
        return True


async def stage(connection: Connection) -> None:
    """Make the tables that segments are copied into; once for a connection."""
    await connection.execute("SELECT stage_segments()")


async def replay(
    connection: Connection,
    readers: Sequence[SegmentReader],
    *,
    until: datetime | None,
    through: tuple[int, int] | None,
    timeout_s: float,
) -> Replayed:
    """Add segments whose headers have been read to a ledger, in one transaction.

    Args:
        connection: As the ledger's owner, and staged.
        readers: One segment, or several of which each begins where the one before it ends.
        until: Take nothing that was recorded later.
        through: Take nothing beyond this event and this change of rules.
        timeout_s: Bounds each statement.

    Raises:
        SegmentError: They do not follow what is there, or their hashes do not.
    """
    async with connection.transaction():
        for reader in readers:
            await _copy_in(connection, reader, timeout_s)
        try:
            row = await connection.fetchrow(
                "SELECT r.*, EXISTS ("
                "  SELECT FROM staged_rules AS s WHERE s.changed_at > $1 OR s.change_id > $3"
                " ) AS rules_reached"
                " FROM replay_segment("
                "  coalesce($1::timestamptz, 'infinity'),"
                "  coalesce($2::bigint, 9223372036854775807),"
                "  coalesce($3::bigint, 9223372036854775807)"
                " ) AS r",
                until,
                *(through or (None, None)),
                timeout=timeout_s,
            )
        except asyncpg.DataError as error:
            raise SegmentError(str(error)) from error
    if row is None:
        raise RuntimeError("replay_segment answered no row")
    return Replayed(
        Position(row["last_seq"], row["last_event_id"], row["last_hash"], row["last_change"]),
        row["last_recorded_at"],
        row["reached"],
        row["rules_reached"],
    )


async def _copy_in(connection: Connection, reader: SegmentReader, timeout_s: float) -> None:
    while (kind := await reader.kind()) is not None:
        if kind not in _TABLES:
            raise SegmentError("a segment has a frame of an unknown kind")
        await connection.copy_to_table(
            _TABLES[kind],
            schema_name="pg_temp",
            source=reader.section(kind),
            columns=reader.columns[kind],
            format="text",
            timeout=timeout_s,
        )


def joined(contents: Sequence[bytes]) -> tuple[Segment, bytes] | None:
    """Make one segment of several; None where they do not follow each other, or are not alike.

    Raises:
        SegmentError: One is no segment.
    """
    parts: list[Segment] = []
    bodies: list[bytes] = []
    alike: dict[bytes, list[str]] | None = None
    for content in contents:
        if len(content) < _FRAME.size or content[:1] != b"H":
            raise SegmentError("a segment does not begin with its header")
        body = _FRAME.size + int(_FRAME.unpack_from(content)[1])
        segment, columns = _read_header(content[_FRAME.size : body])
        if (alike or columns) != columns or (parts and parts[-1].end != segment.after):
            return None
        alike = columns
        parts.append(segment)
        bodies.append(content[body:])
    first, last = parts[0], parts[-1]
    whole = replace(
        first,
        end=last.end,
        first_recorded_at=next((part.first_recorded_at for part in parts if part.events), None),
        last_recorded_at=next(
            (part.last_recorded_at for part in reversed(parts) if part.events), None
        ),
    )
    return whole, _frame(b"H", whole.header()) + b"".join(bodies)


def _read_header(text: bytes) -> tuple[Segment, dict[bytes, list[str]]]:
    told = orjson.loads(text)
    if told["format"] != FORMAT:
        raise SegmentError(f"a segment of format {told['format']} needs a later release")
    columns: dict[bytes, list[str]] = {
        kind.encode(): names for kind, names in told["columns"].items()
    }
    segment = Segment(
        told["tenant_id"],
        told["epoch"],
        _position(told["after"]),
        _position(told["end"]),
        _time(told["first_recorded_at"]),
        _time(told["last_recorded_at"]),
    )
    return segment, columns


def _frame(kind: bytes, content: bytes) -> bytes:
    return _FRAME.pack(kind, len(content)) + content


def _position_json(position: Position) -> dict[str, object]:
    return {
        "seq": position.seq,
        "event_id": str(position.event_id),
        "hash": position.hash.hex(),
        "change": position.change,
    }


def _position(told: dict[str, object]) -> Position:
    return Position(
        int(str(told["seq"])),
        UUID(str(told["event_id"])),
        bytes.fromhex(str(told["hash"])),
        int(str(told["change"])),
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
