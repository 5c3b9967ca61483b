"""The typed call of append: what may be asked for, and what became of it.

A call's additions go as one JSON text, which costs client and server together no more than arrays
or composites do. The answer brings only what the caller cannot know: of new events the ids, hashes
and the time, and whole events where the request does not say what is in them.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from itertools import islice
from json.encoder import encode_basestring
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import orjson

from freehold.contracts.events import NewEvent, NewReversal
from freehold.contracts.holds import NewHold
from freehold.ledger.client import Connection, Record
from freehold.ledger.clocks import Clock, asked


class Row(Protocol):
    """An event by the names of its columns: read from the ledger, or made from what was asked."""

    def __getitem__(self, name: str, /) -> Any: ...

    def keys(self) -> Iterable[str]:
        """Name the columns."""
        ...


class Outcome(StrEnum):
    """What became of one append request (see sql/append.sql)."""

    CREATED = "created"
    REPLAYED = "replayed"
    KEY_REUSED = "key_reused"
    DUPLICATE_EXTERNAL_ID = "duplicate_external_id"
    ALREADY_REVERSED = "already_reversed"
    EVENT_NOT_FOUND = "event_not_found"
    TRANSACTION_NOT_FOUND = "transaction_not_found"
    NOT_REVERSIBLE = "not_reversible"
    ALREADY_REFUNDED = "already_refunded"
    TRANSACTION_LEG = "transaction_leg"
    PREDATES_ORIGINAL = "predates_original"
    UNBALANCED = "unbalanced"
    REFUNDED_NOT_FOUND = "refunded_not_found"
    REFUND_OF_REFUND = "refund_of_refund"
    REFUND_OF_REVERSAL = "refund_of_reversal"
    REFUND_OF_HOLD = "refund_of_hold"
    REFUND_ACCOUNT = "refund_account"
    REFUND_CURRENCY = "refund_currency"
    REFUND_SIGN = "refund_sign"
    REFUND_EXCEEDS = "refund_exceeds"
    HOLD_NOT_FOUND = "hold_not_found"
    HOLD_NOT_PENDING = "hold_not_pending"
    HOLD_EXCEEDED = "hold_exceeded"
    HOLD_EXPIRY_PAST = "hold_expiry_past"
    EVENT_TYPE_RESERVED = "event_type_reserved"
    EVENT_TYPE_UNKNOWN = "event_type_unknown"
    EVENT_TYPE_SIGN = "event_type_sign"
    INSUFFICIENT_FUNDS = "insufficient_funds"


@dataclass(frozen=True, slots=True)
class Reversal:
    """An event to reverse, or a transaction."""

    event_id: UUID
    details: NewReversal


@dataclass(frozen=True, slots=True)
class Capture:
    """A hold to capture: to post all of it, or `amount_minor` of it and release the rest."""

    hold_id: UUID
    amount_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """A hold to release."""

    hold_id: UUID


Addition = NewEvent | Reversal | NewHold | Capture | Release


class AppendRequest(NamedTuple):
    """What one idempotency key asks for: all of it is added, or nothing.

    Without a key only its external ids protect the request from being added twice. Its additions
    are of one kind. A settlement is a request's only addition. The additions of a transaction are
    its legs, or the one reversal of an earlier one.
    """

    key: str | None
    fingerprint: str
    additions: Sequence[Addition]
    transaction: bool = False


class Written(NamedTuple):
    """What append says about all new events of a call. Their other facts are in the requests."""

    first_seq: int
    recorded_at: datetime
    default_time: datetime
    """The transaction_time of events that were given none."""
    ids: bytes
    hashes: bytes


class NewlyWritten(NamedTuple):
    """A new event or hold, and what append says about it."""

    addition: NewEvent | NewHold
    seq: int
    event_id: bytes
    transaction_time: datetime
    recorded_at: datetime
    hash: bytes


class Answer:
    """What append answered to one request.

    `conflicting_id` names the event or the transaction that stands against a refused request.
    `index` counts its additions from 0, or the legs of the transaction that it reverses, and names
    the one at fault. `existing` is the event that stands against it, or the one whose reversal
    would take an account below its limit; None where the ledger has no such event. `room` is how
    much is left of what it takes too much of, in minor units; None for other outcomes.
    """

    __slots__ = (
        "_events",
        "_first",
        "_written",
        "conflicting_id",
        "existing",
        "index",
        "outcome",
        "request",
        "room",
    )

    def __init__(
        self,
        outcome: Outcome,
        request: AppendRequest,
        conflicting_id: UUID | None = None,
        index: int | None = None,
        written: Written | None = None,
        first: int = 0,
        events: Sequence[Row] | None = None,
        room: int | None = None,
    ) -> None:
        self.room = room
        self.outcome = outcome
        self.request = request
        self.conflicting_id = conflicting_id
        self.index = index
        # The request's events are those from `first` on, of the call's new events.
        self._written = written
        self._first = first
        is_refused = outcome not in {Outcome.CREATED, Outcome.REPLAYED}
        self.existing = events[-1] if events and is_refused else None
        self._events = [] if is_refused else events

    @property
    def events(self) -> Sequence[Row]:
        """The request's events in the order of seq; made when they are first asked for."""
        if self._events is None:
            news = self._news()
            # A transaction is named after its first leg.
            named = self.request.transaction and news
            transaction_id = UUID(bytes=news[0].event_id) if named else None
            self._events = [row_of(new, transaction_id) for new in news]
        return self._events

    @property
    def new_events(self) -> Sequence[NewlyWritten]:
        """The request's new events; none where they were read from the ledger."""
        if self._events is not None:
            return ()
        return self._news()

    @property
    def seqs(self) -> tuple[int, int]:
        """The seq of the first and of the last event that the request has added."""
        if self._written is not None:
            first = self._written.first_seq + self._first
            return first, first + len(self.request.additions) - 1
        # What placed a hold comes before what settled it.
        is_settlement = isinstance(self.request.additions[0], Capture | Release)
        return self.events[-1 if is_settlement else 0]["seq"], self.events[-1]["seq"]

    def _news(self) -> list[NewlyWritten]:
        if self._written is None:
            return []
        first_seq, recorded_at, default_time, ids, hashes = self._written
        return [
            NewlyWritten(
                addition,
                first_seq + number,
                ids[number * _ID : (number + 1) * _ID],
                (isinstance(addition, NewEvent) and addition.transaction_time) or default_time,
                recorded_at,
                hashes[number * _HASH : (number + 1) * _HASH],
            )
            for number, addition in enumerate(self.request.additions, start=self._first)
            if isinstance(addition, NewEvent | NewHold)
        ]


@dataclass(frozen=True, slots=True)
class AppendResult:
    """What one call of append did, and where the ledger ends now.

    `news_from` is the seq of the first event that is to be announced; None if there is none.
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
                addition.refunds_event_id,
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


_APPEND = (
    "SELECT a.request, a.index, a.outcome, a.conflicting_id, a.room, a.event_ids,"
    " a.event_hashes, a.first_seq, a.recorded_at AS written_at, a.default_time, a.last_seq,"
    " a.last_event_id, a.last_hash, (a.event).*"
    " FROM agreed_now($2, $3), append($1::json) AS a"
)
_FACTS = 13
"""The columns before the event's own."""
_ID = 16
_HASH = 32


async def append(
    connection: Connection, requests: Sequence[AppendRequest], clock: Clock | None = None
) -> AppendResult:
    """Append many requests in one transaction and answer for each, in their order.

    The database's clock must agree with the caller's `clock`.

    Raises:
        ValueError: A request adds nothing.
        asyncpg.PostgresError: Nothing of the whole call was written.
        OSError, TimeoutError: Whether it was written is unknown; asking again is safe.
    """
    rows = await connection.fetch(_APPEND, _sent(requests), *asked(clock))
    return _appended(requests, rows)


def _sent(requests: Sequence[AppendRequest]) -> str:
    """Write requests as the additions that append takes (see sql/append.sql).

    Raises:
        ValueError: A request adds nothing.
    """
    rows: list[dict[str, object]] = []
    for number, (key, digest, additions, transaction) in enumerate(requests, start=1):
        if not additions:
            raise ValueError("an append request must add at least one event")
        for index, addition in enumerate(additions, start=1):
            row = _row(addition)
            row["request"] = number
            row["index"] = index
            rows.append(row)
        if key is not None:
            first = rows[-len(additions)]
            first["key"] = key
            first["fingerprint"] = digest
            first["additions"] = len(additions)
        if transaction:
            for leg, row in enumerate(rows[-len(additions) :], start=1):
                row["leg"] = leg
    return orjson.dumps(rows).decode()


def _row(addition: Addition) -> dict[str, object]:
    match addition:
        case NewEvent():
            row: dict[str, object] = {
                "account_id": addition.account_id,
                "event_type": addition.event_type,
                "amount_minor": addition.amount_minor,
                "currency": addition.currency,
                "metadata": addition.metadata or {},
            }
            if addition.external_id is not None:
                row["external_id"] = addition.external_id
            if addition.refunds_event_id is not None:
                row["refunds_event_id"] = addition.refunds_event_id
            if addition.transaction_time is not None:
                row["transaction_time"] = addition.transaction_time
            return row
        case Reversal():
            reason = addition.details.reason
            return {
                "reverses_event_id": str(addition.event_id),
                "transaction_time": addition.details.transaction_time,
                "event_type": "REVERSAL",
                "metadata": {} if reason is None else {"reason": reason},
            }
        case NewHold():
            return {
                "account_id": addition.account_id,
                "event_type": "HOLD",
                "amount_minor": 0,
                "currency": addition.currency,
                "external_id": addition.external_id,
                "metadata": addition.metadata or {},
                "held_minor": addition.amount_minor,
                "hold_expires_at": addition.expires_at,
            }
        case Capture():
            amount = None if addition.amount_minor is None else -addition.amount_minor
            return _settlement("HOLD_CAPTURE", amount, addition.hold_id)
        case Release():
            return _settlement("HOLD_RELEASE", 0, addition.hold_id)


def _settlement(event_type: str, amount_minor: int | None, hold_id: UUID) -> dict[str, object]:
    return {
        "hold_id": str(hold_id),
        "event_type": event_type,
        "amount_minor": amount_minor,
        "metadata": {},
    }


def row_of(new: NewlyWritten, transaction_id: UUID | None = None) -> Row:
    """Give a new event as the ledger's row of it."""
    addition, seq, event_id, transaction_time, recorded_at, digest = new
    row = {
        "event_id": UUID(bytes=event_id),
        "seq": seq,
        "account_id": addition.account_id,
        "transaction_time": transaction_time,
        "recorded_at": recorded_at,
        "event_type": "HOLD",
        "amount_minor": 0,
        "currency": addition.currency,
        "transaction_id": transaction_id,
        "reverses_event_id": None,
        "refunds_event_id": None,
        "external_id": addition.external_id,
        "metadata_json": metadata_json(addition.metadata),
        "hash": digest,
        "hold_id": None,
        "held_minor": None,
        "hold_expires_at": None,
    }
    if isinstance(addition, NewEvent):
        row["event_type"] = addition.event_type
        row["amount_minor"] = addition.amount_minor
        row["refunds_event_id"] = addition.refunds_event_id
    else:
        row["hold_id"] = row["event_id"]
        row["held_minor"] = addition.amount_minor
        row["hold_expires_at"] = addition.expires_at
    return row


def metadata_json(metadata: Mapping[str, str] | None) -> str:
    """Write metadata as Postgres writes its jsonb: shorter keys first, then in order of bytes.

    These bytes are hashed, and a replay reads them from the ledger. Both answers must be the same.
    """
    if not metadata:
        return "{}"
    keys: Iterable[str] = metadata
    if len(metadata) > 1:
        keys = sorted(metadata, key=lambda key: (len(encoded := key.encode()), encoded))
    members = [f"{encode_basestring(key)}: {encode_basestring(metadata[key])}" for key in keys]
    return f"{{{', '.join(members)}}}"


def _appended(requests: Sequence[AppendRequest], rows: Sequence[Record]) -> AppendResult:
    """Make the answers from append's rows: those of single requests, and one about the call."""
    by_request: defaultdict[int, list[Record]] = defaultdict(list)
    for row in rows:
        by_request[row["request"]].append(row)
    (summary,) = by_request[0]
    ids = summary["event_ids"]
    created = len(ids) // _ID
    written = Written(
        summary["last_seq"] - created + 1,
        summary["written_at"],
        summary["default_time"],
        ids,
        summary["event_hashes"],
    )
    answers: list[Answer] = []
    done = 0
    for number, request in enumerate(requests, start=1):
        shown = by_request.get(number)
        if shown is None:
            answer = Answer(Outcome.CREATED, request, written=written, first=done)
            done += len(request.additions)
        else:
            answer = _shown(request, shown)
            if answer.outcome is Outcome.CREATED:
                done = answer.events[-1]["seq"] - written.first_seq + 1
        answers.append(answer)
    if done != created:
        raise RuntimeError("append left a request without an answer")
    grown = summary["last_seq"] >= summary["first_seq"]
    # A replay too: the first answer may have been lost before it was announced.
    replays = any(answer.outcome is Outcome.REPLAYED for answer in answers)
    news_from = min(summary["first_seq"], summary["last_seq"]) if grown or replays else None
    return AppendResult(
        answers,
        created,
        news_from,
        summary["last_seq"],
        summary["last_event_id"],
        summary["last_hash"],
    )


def _shown(request: AppendRequest, rows: Sequence[Record]) -> Answer:
    """Make the answer of a request from its rows, each with an event or none."""
    first = rows[0]
    index, room = first["index"], first["room"]
    events = [
        dict(islice(row.items(), _FACTS, None)) for row in rows if row["event_id"] is not None
    ]
    return Answer(
        Outcome(first["outcome"]),
        request,
        first["conflicting_id"],
        None if index is None else index - 1,
        events=events,
        room=None if room is None else int(room),
    )
