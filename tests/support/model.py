"""A ledger in plain Python, too simple to be wrong: what the SQL one is held against.

It decides a call's requests one after the other. What only the database can know, the ids and the
hashes of new events, it takes over from the answers.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from freehold.contracts.events import NewEvent
from freehold.contracts.holds import NewHold
from freehold.ledger.append import Addition, AppendRequest, Capture, Outcome, Release, Reversal
from freehold.ledger.points_in_time import Moment

SMALLEST_AMOUNT = -(2**63)
RETENTION = timedelta(hours=24)
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
ITS_OWN = "the event's own id"
FIRST = "the id of the request's first event"

Row = dict[str, Any]
Account = tuple[str, str]
"""An account's id, and a currency."""
Balance = tuple[int, int, int, UUID, int]
"""Amount, amount held, number of events, last event's id, last event's seq."""
PastBalance = tuple[int, int, UUID | None, int, datetime | None]
"""Amount, number of events, last event's id and seq, and when it was recorded."""
NEVER: PastBalance = (0, 0, None, 0, None)

Activity = tuple[datetime, str, str, int, int, int]
"""A quarter of an hour, currency, event type; number of events, amount in, amount out."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What has to become of a request."""

    outcome: Outcome
    conflicting_id: UUID | None = None
    index: int | None = None
    room: int | None = None
    facts: list[Row] = field(default_factory=list)
    """Of each event to be created: what its row has to say."""
    rows: list[Row] = field(default_factory=list)
    """Of a replay: the rows that were answered first."""


@dataclass(slots=True)
class _Remembered:
    fingerprint: str
    created: list[Row]
    rows: list[Row]
    expires_at: datetime


@dataclass(slots=True)
class _Hold:
    placed: Row
    settled: UUID | None = None


class ModelLedger:
    """One tenant's ledger and its state, at a time that the test sets."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.events: list[Row] = []
        self.external_ids: dict[str, UUID] = {}
        self.reversals: dict[UUID, UUID] = {}
        self.signs: dict[str, str] = {}
        self.closed = False
        self.limits: dict[Account, int] = {}
        self.projected = 0
        self._keys: dict[str, _Remembered] = {}
        self._by_id: dict[UUID, Row] = {}
        self._holds: dict[UUID, _Hold] = {}

    def decide(self, request: AppendRequest) -> Decision:
        """Say what has to become of a request, given all that was created before it."""
        known = None if request.key is None else self._keys.get(request.key)
        if known is not None and known.expires_at > self.now:
            if known.fingerprint == request.fingerprint:
                return Decision(Outcome.REPLAYED, rows=known.rows)
            return Decision(Outcome.KEY_REUSED)
        return self._refusal(request) or Decision(
            Outcome.CREATED, facts=self._facts_of_all(request)
        )

    def create(self, request: AppendRequest, created: list[Row], rows: list[Row]) -> None:
        """Take over the events that a request has created, and the rows that answered it."""
        if request.key is not None:
            expires_at = self.now + RETENTION
            self._keys[request.key] = _Remembered(request.fingerprint, created, rows, expires_at)
        self._add(created)

    def due(self) -> list[Row]:
        """Say what has to be written of holds that have expired, before anything else."""
        return [
            _settlement("HOLD_EXPIRY", self._holds[hold_id].placed, amount_minor=0)
            for hold_id, expires_at in self.pending_expiries.items()
            if expires_at <= self.now
        ]

    def expire_holds(self, rows: list[Row]) -> None:
        """Take over the events that have settled them."""
        self._add(rows)

    def expire_key(self, key: str) -> None:
        """Let a key's time have been over long since."""
        self._keys[key].expires_at = LONG_AGO

    def forget(self, key: str) -> None:
        """Forget what a key was used for."""
        del self._keys[key]

    @property
    def keys(self) -> dict[str, tuple[str, UUID, UUID]]:
        """Of each key, expired ones too: fingerprint, first event's id, last event's id."""
        return {
            key: (known.fingerprint, known.created[0]["event_id"], known.created[-1]["event_id"])
            for key, known in self._keys.items()
        }

    @property
    def expired_keys(self) -> set[str]:
        """The keys whose time is over."""
        return {key for key, known in self._keys.items() if known.expires_at <= self.now}

    @property
    def holds(self) -> dict[UUID, tuple[datetime | None, UUID | None]]:
        """Of each hold: when it expires, and the event that settled it."""
        return {
            hold_id: (hold.placed["hold_expires_at"], hold.settled)
            for hold_id, hold in self._holds.items()
        }

    @property
    def pending_expiries(self) -> dict[UUID, datetime]:
        """When each pending hold expires that ever does."""
        return {
            hold_id: expires_at
            for hold_id, (expires_at, settled) in self.holds.items()
            if settled is None and expires_at is not None
        }

    def projected_balances(self) -> dict[Account, Balance]:
        """What the state table has to hold."""
        return replay(self.events[: self.projected])

    def strong_balances(self) -> dict[Account, Balance]:
        """What a strong read has to answer."""
        return replay(self.events)

    def projected_activity(self) -> set[Activity]:
        """What the rollups have to hold."""
        sums: dict[tuple[datetime, str, str], list[int]] = {}
        for event in self.events[: self.projected]:
            at: datetime = event["transaction_time"]
            quarter = at.replace(minute=at.minute // 15 * 15, second=0, microsecond=0)
            total = sums.setdefault((quarter, event["currency"], event["event_type"]), [0, 0, 0])
            total[0] += 1
            total[1 if event["amount_minor"] > 0 else 2] += abs(event["amount_minor"])
        return {(*key, count, in_, out) for key, (count, in_, out) in sums.items()}

    def projected_metadata(self, keys: Iterable[str]) -> set[tuple[str, str, int, UUID]]:
        """What the index of searchable metadata has to hold."""
        return {
            (key, metadata[key], event["seq"], event["event_id"])
            for event in self.events[: self.projected]
            for metadata in [orjson.loads(event["metadata_json"])]
            for key in keys
            if key in metadata
        }

    def _add(self, rows: list[Row]) -> None:
        for row in rows:
            event_id, hold_id = row["event_id"], row["hold_id"]
            self._by_id[event_id] = row
            if row["external_id"] is not None:
                self.external_ids[row["external_id"]] = event_id
            if row["reverses_event_id"] is not None:
                self.reversals[row["reverses_event_id"]] = event_id
            if hold_id == event_id:
                self._holds[hold_id] = _Hold(row)
            elif hold_id is not None:
                self._holds[hold_id].settled = event_id
        self.events += rows

    def _refusal(self, request: AppendRequest) -> Decision | None:
        named: set[object] = set()
        additions = self._additions(request)
        if not additions:
            return Decision(Outcome.TRANSACTION_NOT_FOUND, index=0)
        for index, addition in enumerate(additions):
            refused = self._refused(addition, named, in_transaction=request.transaction)
            if refused is not None:
                outcome, conflicting_id = refused
                return Decision(outcome, conflicting_id, index)
        facts = self._facts_of_all(request)
        if request.transaction and not _is_balanced(facts):
            return Decision(Outcome.UNBALANCED)
        exhausted = self._exhausted(facts)
        if exhausted:
            index, original_id, left = min(exhausted)
            is_refund = facts[index]["refunds_event_id"] is not None
            outcome = Outcome.REFUND_EXCEEDS if is_refund else Outcome.ALREADY_REFUNDED
            return Decision(outcome, original_id, index, left)
        lacking = self._lacking(facts)
        if lacking:
            index, room = min(lacking)
            return Decision(Outcome.INSUFFICIENT_FUNDS, index=index, room=room)
        return None

    def _refused(
        self, addition: Addition, named: set[object], *, in_transaction: bool
    ) -> tuple[Outcome, UUID | None] | None:
        match addition:
            case NewEvent():
                return (
                    self._refused_name(addition, named)
                    or self._refused_refund(addition)
                    or self._refused_type(addition)
                )
            case NewHold():
                return self._refused_name(addition, named) or self._refused_expiry(addition)
            case Reversal():
                return self._refused_reversal(addition, named, in_transaction=in_transaction)
            case Capture() | Release():
                return self._refused_settlement(addition, named)

    def _refused_name(
        self, addition: NewEvent | NewHold, named: set[object]
    ) -> tuple[Outcome, UUID | None] | None:
        external_id = addition.external_id
        if external_id is None:
            return None
        if external_id in self.external_ids or external_id in named:
            return Outcome.DUPLICATE_EXTERNAL_ID, self.external_ids.get(external_id)
        named.add(external_id)
        return None

    def _refused_refund(self, refund: NewEvent) -> tuple[Outcome, UUID | None] | None:
        if refund.refunds_event_id is None:
            return None
        event = self._by_id.get(refund.refunds_event_id)
        if event is None:
            return Outcome.REFUNDED_NOT_FOUND, None
        outcome = None
        if event["refunds_event_id"] is not None:
            outcome = Outcome.REFUND_OF_REFUND
        elif event["reverses_event_id"] is not None:
            outcome = Outcome.REFUND_OF_REVERSAL
        elif event["amount_minor"] == 0:
            outcome = Outcome.REFUND_OF_HOLD
        elif event["account_id"] != refund.account_id:
            outcome = Outcome.REFUND_ACCOUNT
        elif event["currency"] != refund.currency:
            outcome = Outcome.REFUND_CURRENCY
        elif (event["amount_minor"] > 0) == (refund.amount_minor > 0):
            outcome = Outcome.REFUND_SIGN
        return None if outcome is None else (outcome, event["event_id"])

    def _refused_type(self, event: NewEvent) -> tuple[Outcome, None] | None:
        if event.event_type.startswith(("HOLD_", "REVERSAL_")):
            return Outcome.EVENT_TYPE_RESERVED, None
        sign = self.signs.get(event.event_type)
        if sign is None:
            return (Outcome.EVENT_TYPE_UNKNOWN, None) if self.closed else None
        if sign == "any" or (event.amount_minor > 0) == (sign == "positive"):
            return None
        return Outcome.EVENT_TYPE_SIGN, None

    def _refused_expiry(self, hold: NewHold) -> tuple[Outcome, None] | None:
        past = hold.expires_at is not None and hold.expires_at <= self.now
        return (Outcome.HOLD_EXPIRY_PAST, None) if past else None

    def _refused_reversal(
        self, reversal: Reversal, named: set[object], *, in_transaction: bool
    ) -> tuple[Outcome, UUID | None] | None:
        target, at = reversal.event_id, reversal.details.transaction_time
        event = self._by_id.get(target)
        if event is None:
            return Outcome.EVENT_NOT_FOUND, None
        if target in self.reversals or target in named:
            return Outcome.ALREADY_REVERSED, self.reversals.get(target)
        if event["transaction_id"] is not None and not in_transaction:
            return Outcome.TRANSACTION_LEG, event["transaction_id"]
        if event["amount_minor"] in {0, SMALLEST_AMOUNT}:
            return Outcome.NOT_REVERSIBLE, None
        if at is not None and at < event["transaction_time"]:
            return Outcome.PREDATES_ORIGINAL, None
        named.add(target)
        return None

    def _refused_settlement(
        self, settlement: Capture | Release, named: set[object]
    ) -> tuple[Outcome, UUID | None] | None:
        hold = self._holds.get(settlement.hold_id)
        if hold is None:
            return Outcome.HOLD_NOT_FOUND, None
        if hold.settled is not None or settlement.hold_id in named:
            return Outcome.HOLD_NOT_PENDING, hold.settled
        if (
            isinstance(settlement, Capture)
            and (settlement.amount_minor or 0) > hold.placed["held_minor"]
        ):
            return Outcome.HOLD_EXCEEDED, None
        named.add(settlement.hold_id)
        return None

    def _exhausted(self, facts: Sequence[Row]) -> list[tuple[int, UUID, int]]:
        """Where a request first takes from each event of which too little is left, and how much."""
        changes: dict[UUID, int] = defaultdict(int)
        first_taking: dict[UUID, int] = {}
        for index, fact in enumerate(facts):
            original_id = self._original(fact)
            if original_id is None:
                continue
            change = fact["amount_minor"] * self._sign(original_id)
            changes[original_id] += change
            if change < 0:
                first_taking.setdefault(original_id, index)
        return [
            (first_taking[original_id], original_id, left)
            for original_id, change in changes.items()
            if change < 0 and (left := self.left(original_id)) + change < 0
        ]

    def left(self, original_id: UUID) -> int:
        """What is left of an event to refund or to reverse."""
        undoing = [event for event in self.events if self._original(event) == original_id]
        left: int = sum(event["amount_minor"] for event in [self._by_id[original_id], *undoing])
        return left * self._sign(original_id)

    def _sign(self, event_id: UUID) -> int:
        return 1 if self._by_id[event_id]["amount_minor"] > 0 else -1

    def _original(self, event: Row) -> UUID | None:
        """The event that another one refunds or reverses, or that its reversed one does."""
        if event["reverses_event_id"] is None:
            found: UUID | None = event["refunds_event_id"]
            return found
        undone = self._by_id[event["reverses_event_id"]]
        return self._original(undone) or undone["event_id"]

    def _lacking(self, facts: Sequence[Row]) -> list[tuple[int, int]]:
        """Where a request first takes from each account that has too little, and how much."""
        changes: dict[Account, int] = defaultdict(int)
        first_taking: dict[Account, int] = {}
        for index, fact in enumerate(facts):
            account = (fact["account_id"], fact["currency"])
            change = fact["amount_minor"] - (fact["held_minor"] or 0)
            changes[account] += change
            if change < 0:
                first_taking.setdefault(account, index)
        return [
            (first_taking[account], room)
            for account, change in changes.items()
            if change < 0
            and account in self.limits
            and (room := self._available(account) - self.limits[account]) + change < 0
        ]

    def _available(self, account: Account) -> int:
        amount, held, *_ = replay(self.events).get(account, (0, 0))
        return amount - held

    def _facts_of_all(self, request: AppendRequest) -> list[Row]:
        transaction_id = FIRST if request.transaction else None
        return [
            {**self._facts(addition), "transaction_id": transaction_id}
            for addition in self._additions(request)
        ]

    def _additions(self, request: AppendRequest) -> Sequence[Addition]:
        """The additions of a request; for a reversed transaction the reversals of its legs."""
        first = request.additions[0]
        if request.transaction and isinstance(first, Reversal):
            return [Reversal(leg, first.details) for leg in self._legs(first.event_id)]
        return request.additions

    def _legs(self, transaction_id: UUID) -> list[UUID]:
        return [
            event["event_id"] for event in self.events if event["transaction_id"] == transaction_id
        ]

    def _facts(self, addition: Addition) -> Row:
        match addition:
            case NewEvent():
                return {
                    **_NOTHING_ELSE,
                    "account_id": addition.account_id,
                    "event_type": addition.event_type,
                    "amount_minor": addition.amount_minor,
                    "currency": addition.currency,
                    "transaction_time": addition.transaction_time,
                    "refunds_event_id": addition.refunds_event_id,
                    "external_id": addition.external_id,
                    "metadata": addition.metadata or {},
                }
            case NewHold():
                return {
                    **_NOTHING_ELSE,
                    "account_id": addition.account_id,
                    "event_type": "HOLD",
                    "amount_minor": 0,
                    "currency": addition.currency,
                    "external_id": addition.external_id,
                    "metadata": addition.metadata or {},
                    "hold_id": ITS_OWN,
                    "held_minor": addition.amount_minor,
                    "hold_expires_at": addition.expires_at,
                }
            case Reversal():
                target = self._by_id[addition.event_id]
                reason = addition.details.reason
                return {
                    **_NOTHING_ELSE,
                    "account_id": target["account_id"],
                    "event_type": "REVERSAL",
                    "amount_minor": -target["amount_minor"],
                    "currency": target["currency"],
                    "transaction_time": addition.details.transaction_time,
                    "metadata": {} if reason is None else {"reason": reason},
                    "reverses_event_id": addition.event_id,
                }
            case Capture():
                placed = self._holds[addition.hold_id].placed
                amount = addition.amount_minor
                amount = placed["held_minor"] if amount is None else amount
                return _settlement("HOLD_CAPTURE", placed, amount_minor=-amount)
            case Release():
                placed = self._holds[addition.hold_id].placed
                return _settlement("HOLD_RELEASE", placed, amount_minor=0)


_NOTHING_ELSE: Row = {
    "transaction_time": None,
    "external_id": None,
    "metadata": {},
    "transaction_id": None,
    "reverses_event_id": None,
    "refunds_event_id": None,
    "hold_id": None,
    "held_minor": None,
    "hold_expires_at": None,
}


def replay(events: Iterable[Row]) -> dict[Account, Balance]:
    """Add up events into balances by account and currency."""
    balances: dict[Account, Balance] = {}
    for event in events:
        account = (event["account_id"], event["currency"])
        amount, held, number, *_ = balances.get(account, (0, 0, 0))
        balances[account] = (
            amount + event["amount_minor"],
            held + (event["held_minor"] or 0),
            number + 1,
            event["event_id"],
            event["seq"],
        )
    return balances


def replay_until(moment: Moment, events: Iterable[Row]) -> dict[Account, PastBalance]:
    """Say what the books said at a moment, in every currency that an account has ever had."""
    balances: dict[Account, PastBalance] = {}
    for event in events:
        account = (event["account_id"], event["currency"])
        amount, number, *_ = balances.setdefault(account, NEVER)
        happened = moment.as_of is None or event["transaction_time"] <= moment.as_of
        if happened and (moment.known_at is None or event["recorded_at"] <= moment.known_at):
            balances[account] = (
                amount + event["amount_minor"],
                number + 1,
                event["event_id"],
                event["seq"],
                event["recorded_at"],
            )
    return balances


def _settlement(event_type: str, placed: Row, *, amount_minor: int) -> Row:
    return {
        **_NOTHING_ELSE,
        "account_id": placed["account_id"],
        "event_type": event_type,
        "amount_minor": amount_minor,
        "currency": placed["currency"],
        "held_minor": -placed["held_minor"],
        "hold_id": placed["hold_id"],
    }


def _is_balanced(facts: Sequence[Row]) -> bool:
    sums: dict[str, int] = defaultdict(int)
    for fact in facts:
        sums[fact["currency"]] += fact["amount_minor"]
    return not any(sums.values())
