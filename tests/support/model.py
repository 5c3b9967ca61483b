"""A ledger in plain Python, too simple to be wrong: what the SQL one is held against.

It decides a call's requests one after the other. What only the database can know, the ids and the
hashes of new events, it takes over from the answers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from freehold.contracts.events import NewEvent
from freehold.ledger.client import AppendRequest, Outcome, Reversal

SMALLEST_AMOUNT = -(2**63)

Row = dict[str, Any]
Balance = tuple[int, int, UUID, int]
"""Amount, number of events, last event's id, last event's seq."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What has to become of a request."""

    outcome: Outcome
    conflicting_event_id: UUID | None = None
    facts: list[Row] = field(default_factory=list)
    """Of each event to be created: what its row has to say."""
    rows: list[Row] = field(default_factory=list)
    """Of a replay: the rows that were answered first."""


@dataclass(slots=True)
class _Remembered:
    fingerprint: str
    rows: list[Row]
    expired: bool = False


class ModelLedger:
    """One tenant's ledger and its state."""

    def __init__(self) -> None:
        self.events: list[Row] = []
        self.external_ids: dict[str, UUID] = {}
        self.reversals: dict[UUID, UUID] = {}
        self.projected = 0
        self._keys: dict[str, _Remembered] = {}
        self._by_id: dict[UUID, Row] = {}

    def decide(self, request: AppendRequest) -> Decision:
        """Say what has to become of a request, given all that was created before it."""
        known = None if request.key is None else self._keys.get(request.key)
        if known is not None and not known.expired:
            if known.fingerprint == request.fingerprint:
                return Decision(Outcome.REPLAYED, rows=known.rows)
            return Decision(Outcome.KEY_REUSED)
        return self._refusal(request.additions) or Decision(
            Outcome.CREATED, facts=[self._facts(addition) for addition in request.additions]
        )

    def create(self, request: AppendRequest, rows: list[Row]) -> None:
        """Take over the events that a request has created."""
        if request.key is not None:
            self._keys[request.key] = _Remembered(request.fingerprint, rows)
        for row in rows:
            self._by_id[row["event_id"]] = row
            if row["external_id"] is not None:
                self.external_ids[row["external_id"]] = row["event_id"]
            if row["reverses_event_id"] is not None:
                self.reversals[row["reverses_event_id"]] = row["event_id"]
        # One call's requests may be given their seq in another order than they stand in.
        self.events = sorted([*self.events, *rows], key=lambda row: int(row["seq"]))

    def expire(self, key: str) -> None:
        """Forget what a key was used for."""
        self._keys[key].expired = True

    @property
    def keys(self) -> dict[str, tuple[str, UUID, UUID]]:
        """Of each key, expired ones too: fingerprint, first event's id, last event's id."""
        return {
            key: (known.fingerprint, known.rows[0]["event_id"], known.rows[-1]["event_id"])
            for key, known in self._keys.items()
        }

    def projected_balances(self) -> dict[tuple[str, str], Balance]:
        """What the state table has to hold."""
        return replay(self.events[: self.projected])

    def strong_balances(self) -> dict[tuple[str, str], Balance]:
        """What a strong read has to answer."""
        return replay(self.events)

    def _refusal(self, additions: Sequence[NewEvent] | Sequence[Reversal]) -> Decision | None:
        named: set[str | UUID] = set()
        for addition in additions:
            refusal = (
                self._refused_reversal(addition.event_id, named)
                if isinstance(addition, Reversal)
                else self._refused_event(addition.external_id, named)
            )
            if refusal is not None:
                return refusal
        return None

    def _refused_event(self, external_id: str | None, named: set[str | UUID]) -> Decision | None:
        if external_id is None:
            return None
        if external_id in self.external_ids or external_id in named:
            return Decision(Outcome.DUPLICATE_EXTERNAL_ID, self.external_ids.get(external_id))
        named.add(external_id)
        return None

    def _refused_reversal(self, target: UUID, named: set[str | UUID]) -> Decision | None:
        if target not in self._by_id:
            return Decision(Outcome.EVENT_NOT_FOUND)
        if target in self.reversals or target in named:
            return Decision(Outcome.ALREADY_REVERSED, self.reversals.get(target))
        if self._by_id[target]["amount_minor"] == SMALLEST_AMOUNT:
            return Decision(Outcome.NOT_REVERSIBLE)
        named.add(target)
        return None

    def _facts(self, addition: NewEvent | Reversal) -> Row:
        if isinstance(addition, Reversal):
            target = self._by_id[addition.event_id]
            reason = addition.details.reason
            return {
                "account_id": target["account_id"],
                "event_type": "REVERSAL",
                "amount_minor": -target["amount_minor"],
                "currency": target["currency"],
                "transaction_time": addition.details.transaction_time,
                "external_id": None,
                "metadata": {} if reason is None else {"reason": reason},
                "reverses_event_id": addition.event_id,
                "transaction_id": None,
            }
        return {
            "account_id": addition.account_id,
            "event_type": addition.event_type,
            "amount_minor": addition.amount_minor,
            "currency": addition.currency,
            "transaction_time": addition.transaction_time,
            "external_id": addition.external_id,
            "metadata": addition.metadata or {},
            "reverses_event_id": None,
            "transaction_id": None,
        }


def replay(events: Iterable[Row]) -> dict[tuple[str, str], Balance]:
    """Add up events into balances by account and currency."""
    balances: dict[tuple[str, str], Balance] = {}
    for event in events:
        place = (event["account_id"], event["currency"])
        amount, number, _, _ = balances.get(place, (0, 0, None, None))
        balances[place] = (
            amount + event["amount_minor"],
            number + 1,
            event["event_id"],
            event["seq"],
        )
    return balances
