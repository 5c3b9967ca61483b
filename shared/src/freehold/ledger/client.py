"""Typed calls of the ledger's SQL functions.

Every call is one statement, and so one transaction. Names are unqualified: the connection's
search_path names the home's schema. Parameters are text arrays with casts on the server, which
asyncpg sends without asking the server for types first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import orjson

from freehold.contracts.events import NewEvent, NewReversal

# Only the stubs know what a connection's rows are.
if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection
Record = asyncpg.Record


class Outcome(StrEnum):
    """What became of one append request (see 0003_append.sql)."""

    CREATED = "created"
    REPLAYED = "replayed"
    KEY_REUSED = "key_reused"
    DUPLICATE_EXTERNAL_ID = "duplicate_external_id"
    ALREADY_REVERSED = "already_reversed"
    EVENT_NOT_FOUND = "event_not_found"
    NOT_REVERSIBLE = "not_reversible"


@dataclass(frozen=True, slots=True)
class Reversal:
    """An event to undo."""

    event_id: UUID
    details: NewReversal


@dataclass(frozen=True, slots=True)
class AppendRequest:
    """What one idempotency key asks for: some events, or one reversal. All or none.

    Without a key nothing is remembered of the request; its external ids alone tell it again.
    """

    key: str | None
    fingerprint: str
    additions: Sequence[NewEvent] | Sequence[Reversal]


@dataclass(slots=True)
class Answer:
    """What append answered to one request; its events are rows in the order of seq."""

    outcome: Outcome
    conflicting_event_id: UUID | None = None
    events: list[Record] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Head:
    """Where a ledger ends. An empty one ends at seq 0."""

    seq: int
    event_id: UUID
    hash: bytes
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Projection:
    """What one call of project did: it applied the events from_seq..last_seq."""

    from_seq: int
    last_seq: int
    last_event_id: UUID
    head_seq: int
    epoch: int

    @property
    def applied(self) -> int:
        """How many events it applied."""
        return self.last_seq - self.from_seq + 1


@dataclass(frozen=True, slots=True)
class Verification:
    """What verify found."""

    ok: bool
    events_checked: int
    first_bad_seq: int | None
    reason: str | None
    head_seq: int
    head_hash: bytes


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the state is behind the ledger."""

    head_seq: int
    projected_seq: int
    events_behind: int
    seconds_behind: float
    epoch: int


def fingerprint(operation: str, additions: Sequence[NewEvent] | Sequence[Reversal]) -> str:
    """Digest what a request asks for, so that a key used for another request is noticed.

    Two bodies that mean the same have the same fingerprint, whatever their spelling.
    """
    facts: list[tuple[object, ...]] = [
        (
            addition.account_id,
            addition.event_type,
            addition.amount_minor,
            addition.currency,
            addition.transaction_time,
            addition.external_id,
            addition.metadata or {},
        )
        if isinstance(addition, NewEvent)
        else (str(addition.event_id), addition.details.reason, addition.details.transaction_time)
        for addition in additions
    ]
    return sha256(orjson.dumps([operation, facts], option=orjson.OPT_SORT_KEYS)).hexdigest()


_APPEND = "SELECT * FROM append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"


async def append(connection: Connection, requests: Sequence[AppendRequest]) -> list[Answer]:
    """Append many requests in one transaction and answer for each, in their order.

    Raises:
        ValueError: A request adds nothing.
        asyncpg.PostgresError: Nothing of the whole call was written.
        OSError, TimeoutError: Whether it was written is unknown; asking again is safe.
    """
    keys: list[str | None] = []
    fingerprints: list[str] = []
    columns: list[tuple[str | None, ...]] = []
    for number, request in enumerate(requests, start=1):
        if not request.additions:
            raise ValueError("an append request must add at least one event")
        keys.append(request.key)
        fingerprints.append(request.fingerprint)
        owner = str(number)
        columns.extend(_columns(owner, addition) for addition in request.additions)
    rows = await connection.fetch(
        _APPEND, keys, fingerprints, *map(list, zip(*columns, strict=True))
    )
    answers: list[Answer | None] = [None] * len(requests)
    for row in rows:
        place = row["request"] - 1
        answer = answers[place]
        if answer is None:
            answer = answers[place] = Answer(Outcome(row["outcome"]), row["conflicting_event_id"])
        if row["event_id"] is not None:
            answer.events.append(row)
    return [_complete(answer) for answer in answers]


def _complete(answer: Answer | None) -> Answer:
    if answer is None:
        raise RuntimeError("append left a request without an answer")
    if answer.outcome is Outcome.REPLAYED:
        answer.events.sort(key=lambda event: int(event["seq"]))
    return answer


def _columns(owner: str, addition: NewEvent | Reversal) -> tuple[str | None, ...]:
    if isinstance(addition, Reversal):
        details = addition.details
        return (
            owner,
            None,
            _text(details.transaction_time),
            None,
            None,
            None,
            str(addition.event_id),
            None,
            "{}" if details.reason is None else orjson.dumps({"reason": details.reason}).decode(),
        )
    return (
        owner,
        addition.account_id,
        _text(addition.transaction_time),
        addition.event_type,
        str(addition.amount_minor),
        addition.currency,
        None,
        addition.external_id,
        orjson.dumps(addition.metadata).decode() if addition.metadata else "{}",
    )


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


async def head(connection: Connection) -> Head:
    """Say where the ledger ends."""
    return Head(*await _row(connection, "SELECT * FROM head()"))


async def project(connection: Connection, events_max: int) -> Projection:
    """Apply at most `events_max` of the ledger's tail to the state tables."""
    return Projection(*await _row(connection, "SELECT * FROM project($1)", events_max))


async def verify(
    connection: Connection, from_seq: int = 1, to_seq: int | None = None
) -> Verification:
    """Recompute the hash chain over a range of seq and compare it with what is stored."""
    return Verification(*await _row(connection, "SELECT * FROM verify($1, $2)", from_seq, to_seq))


async def reconcile(connection: Connection) -> list[Record]:
    """List the accounts whose state differs from the ledger up to the checkpoint."""
    return await connection.fetch("SELECT * FROM reconcile()")


async def rebuild(connection: Connection) -> int:
    """Make the state anew from the ledger; answer the seq it then stands at."""
    (seq,) = await _row(connection, "SELECT rebuild()")
    return int(seq)


async def projection_lag(connection: Connection) -> Lag:
    """Say how far the state is behind the ledger."""
    return Lag(*await _row(connection, "SELECT * FROM projection_lag()"))


async def hash_at(connection: Connection, seq: int) -> bytes | None:
    """Give the hash of the event with this seq, or None where the ledger has none."""
    (found,) = await _row(connection, "SELECT hash FROM event_at($1)", seq)
    return None if found is None else bytes(found)


async def make_partitions(connection: Connection) -> int:
    """Make the partitions that the year ahead needs; answer how many were missing."""
    (made,) = await _row(connection, "SELECT make_partitions()")
    return int(made)


async def balances(
    connection: Connection, account_ids: Sequence[str], *, strong: bool = False
) -> list[Record]:
    """Give accounts' balances: as projected, or with every event committed before the call."""
    function = "strong_balances" if strong else "balances"
    return await connection.fetch(f"SELECT * FROM {function}($1)", list(account_ids))  # noqa: S608 (one of two names)


async def list_balances(
    connection: Connection,
    *,
    account_prefix: str | None,
    currency: str | None,
    least: int | None,
    most: int | None,
    after: tuple[str, str] | None,
    rows_max: int,
) -> list[Record]:
    """List balances in order of account and currency, after a given pair of the two."""
    after_account_id, after_currency = after or (None, None)
    return await connection.fetch(
        "SELECT * FROM list_balances($1, $2, $3::text::numeric, $4::text::numeric, $5, $6, $7)",
        account_prefix,
        currency,
        None if least is None else str(least),
        None if most is None else str(most),
        after_account_id,
        after_currency,
        rows_max,
    )


async def events(
    connection: Connection, *, account_id: str | None, after: UUID | None, rows_max: int
) -> list[Record]:
    """List events in ledger order, after a given one, of one account or of all."""
    return await connection.fetch("SELECT * FROM events($1, $2, $3)", account_id, after, rows_max)


async def event(connection: Connection, event_id: UUID) -> Record | None:
    """Give one event, or None where the ledger has none of this id."""
    return await connection.fetchrow("SELECT * FROM event($1)", event_id)


async def _row(connection: Connection, statement: str, *arguments: object) -> Record:
    row = await connection.fetchrow(statement, *arguments)
    if row is None:
        raise RuntimeError(f"{statement} answered no row")
    return row
