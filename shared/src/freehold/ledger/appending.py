"""The typed call of append: what may be asked for, and what became of it.

Parameters are text arrays with casts on the server, each sent as one text that the server splits:
the driver takes longer over an array's entries than all else here together. What separates them is
a control character, which no field of a request may hold. The answer brings only what the caller
cannot know: ids, hashes and the time.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from json.encoder import encode_basestring
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import orjson

from freehold.contracts.events import NewEvent, NewReversal
from freehold.contracts.holds import NewHold
from freehold.ledger.client import Connection, Record


class Row(Protocol):
    """An event by the names of its columns: read from the ledger, or told from what was asked."""

    def __getitem__(self, name: str, /) -> Any: ...

    def keys(self) -> Iterable[str]:
        """Name the columns."""
        ...


class Outcome(StrEnum):
    """What became of one append request (see 0008_append.sql)."""

    CREATED = "created"
    REPLAYED = "replayed"
    KEY_REUSED = "key_reused"
    DUPLICATE_EXTERNAL_ID = "duplicate_external_id"
    ALREADY_REVERSED = "already_reversed"
    EVENT_NOT_FOUND = "event_not_found"
    NOT_REVERSIBLE = "not_reversible"
    TRANSACTION_LEG = "transaction_leg"
    UNBALANCED = "unbalanced"
    HOLD_NOT_FOUND = "hold_not_found"
    HOLD_NOT_PENDING = "hold_not_pending"
    HOLD_EXCEEDED = "hold_exceeded"
    HOLD_EXPIRY_PAST = "hold_expiry_past"
    EVENT_TYPE_UNKNOWN = "event_type_unknown"
    EVENT_TYPE_SIGN = "event_type_sign"
    INSUFFICIENT_FUNDS = "insufficient_funds"


@dataclass(frozen=True, slots=True)
class Reversal:
    """An event to undo."""

    event_id: UUID
    details: NewReversal


@dataclass(frozen=True, slots=True)
class Capture:
    """A hold to capture: to post all it holds, or this much of it and let go of the rest."""

    hold_id: UUID
    amount_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """A hold to let go of."""

    hold_id: UUID


Addition = NewEvent | Reversal | NewHold | Capture | Release
_SETTLING = Capture | Release


class AppendRequest(NamedTuple):
    """What one idempotency key asks for. All or none.

    Without a key nothing is remembered of the request; its external ids alone tell it again. Its
    additions are of one kind, and one alone settles a hold. Those of a transaction are its legs, or
    the reversals of all legs of an earlier one.
    """

    key: str | None
    fingerprint: str
    additions: Sequence[Addition]
    transaction: bool = False


class Written(NamedTuple):
    """What append says of all new events of a call; all else of them is in the requests."""

    first_seq: int
    recorded_at: datetime
    ids: bytes
    hashes: bytes


class NewlyWritten(NamedTuple):
    """A new event, in the parts that are known of it."""

    event: NewEvent
    seq: int
    event_id: bytes
    recorded_at: datetime
    hash: bytes


class Answer:
    """What append answered to one request.

    `conflicting_id` names the event, or the transaction, that stands against a refused request;
    `place` is the one of its additions that is at fault, from 0.
    """

    __slots__ = (
        "_events",
        "_first",
        "_request",
        "_written",
        "conflicting_id",
        "outcome",
        "place",
    )

    def __init__(
        self,
        outcome: Outcome,
        request: AppendRequest,
        conflicting_id: UUID | None = None,
        place: int | None = None,
        written: Written | None = None,
        first: int = 0,
    ) -> None:
        self.outcome = outcome
        self.conflicting_id = conflicting_id
        self.place = place
        self._request = request
        # Of the call's new events the request's are those from `first` on.
        self._written = written
        self._first = first
        self._events: Sequence[Row] | None = None

    @property
    def events(self) -> Sequence[Row]:
        """The request's events in the order of seq; told when someone first looks."""
        if self._events is None:
            news = self._new_events()
            # A transaction is named after its first leg.
            named = self._request.transaction and news
            transaction_id = UUID(bytes=news[0].event_id) if named else None
            self._events = [_told(new, transaction_id) for new in news]
        return self._events

    @events.setter
    def events(self, rows: Sequence[Row]) -> None:
        self._events = rows

    @property
    def new_events(self) -> Sequence[NewlyWritten]:
        """The request's new events; none where they are legs, or were not told in full."""
        if self._request.transaction or self._events is not None:
            return ()
        return self._new_events()

    @property
    def seqs(self) -> tuple[int, int]:
        """The seq of the first and of the last event."""
        if self._written is not None:
            first = self._written.first_seq + self._first
            return first, first + len(self._request.additions) - 1
        return self.events[0]["seq"], self.events[-1]["seq"]

    def _new_events(self) -> list[NewlyWritten]:
        if self._written is None:
            return []
        first_seq, recorded_at, ids, hashes = self._written
        return [
            NewlyWritten(
                event,
                first_seq + number,
                ids[number * _ID : (number + 1) * _ID],
                recorded_at,
                hashes[number * _HASH : (number + 1) * _HASH],
            )
            for number, event in enumerate(self._request.additions, start=self._first)
            if isinstance(event, NewEvent)
        ]


@dataclass(frozen=True, slots=True)
class Appended:
    """What one call of append did, and where the ledger ends since.

    `news_from` is the first event that may be news to others; None where there is none.
    """

    answers: list[Answer]
    created: int
    news_from: int | None
    last_seq: int
    last_event_id: UUID
    last_hash: bytes


def fingerprint(operation: str, additions: Iterable[Addition]) -> str:
    """Digest what a request asks for, so that a key used for another request is noticed.

    Two bodies that mean the same have the same fingerprint, whatever their spelling.
    """
    facts = [_facts(addition) for addition in additions]
    return sha256(orjson.dumps([operation, facts], option=orjson.OPT_SORT_KEYS)).hexdigest()


def _facts(addition: Addition) -> tuple[object, ...]:
    match addition:
        case NewEvent():
            return (
                addition.account_id,
                addition.event_type,
                addition.amount_minor,
                addition.currency,
                addition.transaction_time,
                addition.external_id,
                addition.metadata or {},
            )
        case Reversal():
            details = addition.details
            return (str(addition.event_id), details.reason, details.transaction_time)
        case NewHold():
            return (
                addition.account_id,
                addition.currency,
                addition.amount_minor,
                addition.expires_at,
                addition.external_id,
                addition.metadata or {},
            )
        case Capture():
            return (str(addition.hold_id), addition.amount_minor)
        case Release():
            return (str(addition.hold_id),)


_PARAMETERS = 15
_SEPARATOR = "\x1f"
_NOTHING = "\x1e"
_APPEND = "SELECT * FROM append({})".format(  # noqa: S608 (numbers alone)
    ", ".join(
        f"string_to_array(${number}, E'\\x1f', E'\\x1e')" for number in range(1, _PARAMETERS + 1)
    )
)
_ID = 16
_HASH = 32


async def append(connection: Connection, requests: Sequence[AppendRequest]) -> Appended:
    """Append many requests in one transaction and answer for each, in their order.

    Raises:
        ValueError: A request adds nothing.
        asyncpg.PostgresError: Nothing of the whole call was written.
        OSError, TimeoutError: Whether it was written is unknown; asking again is safe.
    """
    owners: list[str] = []
    additions: list[Addition] = []
    for number, request in enumerate(requests, start=1):
        if not request.additions:
            raise ValueError("an append request must add at least one event")
        additions += request.additions
        owners += [str(number)] * len(request.additions)
    columns = (
        [request.key for request in requests],
        # Without a key there is none.
        [request.fingerprint or None for request in requests],
        _transactions(requests),
        owners,
        *_columns(additions),
    )
    rows = await connection.fetch(_APPEND, *map(_sent, columns))
    appended, unread = _appended(requests, rows)
    if unread:
        await _read(connection, unread)
    return appended


def _sent(column: Sequence[str | None] | None) -> str | None:
    """Write an array as the text that the server makes it of.

    Raises:
        ValueError: An entry holds what separates them.
    """
    if column is None:
        return None
    text = _SEPARATOR.join([_NOTHING if entry is None else entry for entry in column])
    if text.count(_SEPARATOR) >= max(1, len(column)):
        raise ValueError("what is appended must not hold control characters")
    return text


def _transactions(requests: Sequence[AppendRequest]) -> list[str] | None:
    if not any(request.transaction for request in requests):
        return None
    return [str(request.transaction).lower() for request in requests]


def _columns(additions: Sequence[Addition]) -> Iterable[list[str | None] | None]:
    """Write additions as append's arrays; an array that would say nothing is left out."""
    events = [addition for addition in additions if isinstance(addition, NewEvent)]
    if len(events) < len(additions):
        columns = zip(*map(_values, additions), strict=True)
        return [list(column) if any(column) else None for column in columns]
    return (
        [event.account_id for event in events],
        [_text(event.transaction_time) for event in events],
        [event.event_type for event in events],
        [str(event.amount_minor) for event in events],
        [event.currency for event in events],
        None,
        [event.external_id for event in events] if any(e.external_id for e in events) else None,
        [_metadata_text(event.metadata) for event in events],
        None,
        None,
        None,
    )


def _values(addition: Addition) -> tuple[str | None, ...]:
    match addition:
        case NewEvent():
            return (
                addition.account_id,
                _text(addition.transaction_time),
                addition.event_type,
                str(addition.amount_minor),
                addition.currency,
                None,
                addition.external_id,
                _metadata_text(addition.metadata),
                *(None,) * 3,
            )
        case Reversal():
            details = addition.details
            reason = None if details.reason is None else {"reason": details.reason}
            return (
                None,
                _text(details.transaction_time),
                *(None,) * 3,
                str(addition.event_id),
                None,
                _metadata_text(reason),
                *(None,) * 3,
            )
        case NewHold():
            return (
                addition.account_id,
                None,
                "HOLD",
                "0",
                addition.currency,
                None,
                addition.external_id,
                _metadata_text(addition.metadata),
                None,
                str(addition.amount_minor),
                _text(addition.expires_at),
            )
        case Capture():
            amount = None if addition.amount_minor is None else str(-addition.amount_minor)
            return _settlement("HOLD_CAPTURE", amount, addition.hold_id)
        case Release():
            return _settlement("HOLD_RELEASE", "0", addition.hold_id)


def _settlement(event_type: str, amount: str | None, hold_id: UUID) -> tuple[str | None, ...]:
    return (None, None, event_type, amount, None, None, None, "{}", str(hold_id), None, None)


def _text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


def _metadata_text(metadata: Mapping[str, str] | None) -> str:
    return orjson.dumps(metadata).decode() if metadata else "{}"


def _told(new: NewlyWritten, transaction_id: UUID | None) -> Row:
    event, seq, event_id, recorded_at, digest = new
    return {
        "event_id": UUID(bytes=event_id),
        "seq": seq,
        "account_id": event.account_id,
        "transaction_time": event.transaction_time or recorded_at,
        "recorded_at": recorded_at,
        "event_type": event.event_type,
        "amount_minor": event.amount_minor,
        "currency": event.currency,
        "transaction_id": transaction_id,
        "reverses_event_id": None,
        "external_id": event.external_id,
        "metadata_json": metadata_as_stored(event.metadata),
        "hash": digest,
        "hold_id": None,
        "held_minor": None,
        "hold_expires_at": None,
    }


def metadata_as_stored(metadata: Mapping[str, str] | None) -> str:
    """Write metadata as Postgres writes its jsonb: shorter keys first, then in order of bytes.

    A replay reads it from the ledger, and must answer with the same bytes.
    """
    if not metadata:
        return "{}"
    keys: Iterable[str] = metadata
    if len(metadata) > 1:
        keys = sorted(metadata, key=lambda key: (len(encoded := key.encode()), encoded))
    members = [f"{encode_basestring(key)}: {encode_basestring(metadata[key])}" for key in keys]
    return f"{{{', '.join(members)}}}"


class _Unread(NamedTuple):
    """A request whose events must be read to be known, by the first and the last id."""

    answer: Answer
    request: AppendRequest
    first: UUID
    last: UUID


def _appended(
    requests: Sequence[AppendRequest], rows: Sequence[Record]
) -> tuple[Appended, list[_Unread]]:
    """Tell the answers from append's rows: one for each request not created, one for the rest."""
    by_request = {row["request"]: row for row in rows}
    summary = by_request[0]
    ids, hashes = summary["event_ids"] or b"", summary["event_hashes"] or b""
    created = len(ids) // _ID
    written = Written(summary["last_seq"] - created + 1, summary["recorded_at"], ids, hashes)
    answers: list[Answer] = []
    unread: list[_Unread] = []
    asked = done = 0
    replays = False
    for number, request in enumerate(requests, start=1):
        count = len(request.additions)
        row = by_request.get(number)
        if row is None:
            answer = Answer(Outcome.CREATED, request, written=written, first=done)
            if not isinstance(request.additions[0], NewEvent):
                of_request = ids[done * _ID : (done + count) * _ID]
                unread.append(_unread(answer, request, of_request))
            done += count
        else:
            place = row["place"]
            answer = Answer(
                Outcome(row["outcome"]),
                request,
                row["conflicting_id"],
                place and place - asked - 1,
            )
            if answer.outcome is Outcome.REPLAYED:
                replays = True
                unread.append(_unread(answer, request, row["event_ids"]))
        answers.append(answer)
        asked += count
    if done != created:
        raise RuntimeError("append left a request without an answer")
    grown = summary["last_seq"] >= summary["first_seq"]
    # A replay too: the first answer may have been lost before it was announced.
    news_from = min(summary["first_seq"], summary["last_seq"]) if grown or replays else None
    appended = Appended(
        answers,
        created,
        news_from,
        summary["last_seq"],
        summary["last_event_id"],
        summary["last_hash"],
    )
    return appended, unread


def _unread(answer: Answer, request: AppendRequest, ids: bytes) -> _Unread:
    return _Unread(answer, request, UUID(bytes=ids[:_ID]), UUID(bytes=ids[-_ID:]))


async def _read(connection: Connection, unread: Sequence[_Unread]) -> None:
    """Read the events that only the ledger knows; of a hold that was settled, its whole life."""
    rows = await connection.fetch(
        "SELECT * FROM written($1, $2)",
        [str(wanted.first) for wanted in unread],
        [str(wanted.last) for wanted in unread],
    )
    found = {row["event_id"]: row for row in rows}
    event_ids = sorted(found)
    settled = [wanted for wanted in unread if isinstance(wanted.request.additions[0], _SETTLING)]
    lives: dict[UUID, list[Row]] = defaultdict(list)
    if settled:
        # Each once: several requests of a call may be answered with one hold's life.
        hold_ids = {str(found[wanted.first]["hold_id"]) for wanted in settled}
        for row in await connection.fetch("SELECT * FROM hold_events($1)", list(hold_ids)):
            lives[row["hold_id"]].append(row)
    for wanted in unread:
        first = found[wanted.first]
        if isinstance(wanted.request.additions[0], _SETTLING):
            wanted.answer.events = lives[first["hold_id"]]
        else:
            start, end = bisect_left(event_ids, wanted.first), bisect_right(event_ids, wanted.last)
            wanted.answer.events = [found[event_id] for event_id in event_ids[start:end]]
