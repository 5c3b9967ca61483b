"""The SQL ledger against a model: calls of every kind, in any order, and what always holds."""

import asyncio
import json
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from freehold.contracts.events import NewEvent
from freehold.contracts.fields import AMOUNT_MAX
from freehold.contracts.holds import NewHold
from freehold.ledger import append, client, rules, search
from freehold.ledger.append import Addition, Answer, AppendRequest, Capture, Outcome, Release
from freehold.ledger.client import Record
from freehold.ledger.points_in_time import NOW, Moment, balances_at, list_balances_at, totals
from support.builders import append_request, make_blocks_small, new_event, new_hold, set_clock, undo
from support.ledgers import Ledgers
from support.model import (
    FIRST,
    ITS_OWN,
    Account,
    Balance,
    ModelLedger,
    PastBalance,
    Row,
    replay_until,
)

Result = TypeVar("Result")
Side = tuple[int, int]
"""An event, and how many microseconds from its time."""

ACCOUNTS = ["a", "cus_42", "Z:9@x.y-z_"]
TILLS = ["till_1", "till_2"]
CURRENCIES = ["USD", "JPY"]
EVENT_TYPES = ["CHARGE", "REFUND"]
CLOCK = "clock"
EVERYBODY = [*ACCOUNTS, *TILLS, CLOCK]
# Two at least, and more until each outcome was seen.
ROUNDS_MAX = 8
UNKNOWN_ID = UUID("019ca9a8-5a00-7000-8000-0007c0a8d5e1")


@dataclass(frozen=True)
class Add:
    """Ask for new events, under one of a few keys or one of its own."""

    key: str | None
    events: list[NewEvent]


@dataclass(frozen=True)
class Transact:
    """Ask for legs, which the last one balances or does not."""

    key: str | None
    legs: list[NewEvent]
    balanced: bool


@dataclass(frozen=True)
class Part:
    """What to refund of any event, or all of it."""

    pick: int
    amount_minor: int | None


@dataclass(frozen=True)
class Refund:
    """Ask for refunds, in a batch or as legs that another one balances."""

    key: str | None
    parts: list[Part]
    balanced: bool


@dataclass(frozen=True)
class Undo:
    """Ask for reversals; a number picks an event, and none picks one that does not exist."""

    key: str | None
    picks: list[int | None]
    at: datetime | None = None


@dataclass(frozen=True)
class UndoTransaction:
    """Ask for the reversal of all legs of a transaction."""

    key: str | None
    pick: int
    at: datetime | None = None


@dataclass(frozen=True)
class Hold:
    """Ask for a hold that expires some hours from now, or never."""

    key: str | None
    hold: NewHold
    expires_in_h: int | None


@dataclass(frozen=True)
class Settle:
    """Ask for a hold's release, or its capture; a number picks a hold, and none picks none."""

    key: str | None
    pick: int | None
    release: bool
    amount_minor: int | None


@dataclass(frozen=True)
class Repeat:
    """Send an earlier request again."""

    pick: int


Plan = Add | Transact | Refund | Undo | UndoTransaction | Hold | Settle | Repeat

times = st.integers(0, 3_900_000_000_000_000).map(
    lambda microseconds: datetime(1900, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
)
keys = st.none() | st.sampled_from([f"shared-{number}" for number in range(6)])
accounts = st.sampled_from(ACCOUNTS)
currencies = st.sampled_from(CURRENCIES)
external_ids = st.none() | st.sampled_from([f"ext-{number}" for number in range(12)])
metadata = st.none() | st.sampled_from([{"plan": "pro"}, {"b": 'é"\\', "a": "", "aa": "😀"}])
amounts = st.integers(-1000, 1000).filter(bool)
tills = st.sampled_from(TILLS)
new_events = st.builds(
    new_event,
    account_id=accounts,
    amount_minor=amounts,
    currency=currencies,
    event_type=st.sampled_from([*EVENT_TYPES * 4, "HOLD_X"]),
    transaction_time=st.none() | times,
    external_id=external_ids,
    metadata=metadata,
)
takings = st.builds(
    new_event,
    account_id=tills,
    amount_minor=st.integers(-20, 20).filter(bool),
    currency=st.sampled_from(["USD", "USD", "USD", "JPY"]),
    external_id=st.none() | external_ids,
)
extreme_events = st.builds(
    new_event, account_id=accounts, amount_minor=st.sampled_from([2**63 - 1, -(2**63)])
)
captured = st.integers(1, 10) | st.integers(1, 300) | st.just(10_000)
new_holds = st.builds(
    new_hold,
    account_id=accounts,
    amount_minor=st.integers(1, 300) | st.integers(1, 5),
    currency=currencies,
    external_id=external_ids,
    metadata=metadata,
)
placements = st.builds(Hold, keys, new_holds, st.sampled_from([None, 0, 1, 2, 3, 6]))
picks = st.integers(0, 1000)
parts = st.builds(Part, picks, st.none() | st.integers(1, 300))
sides = st.none() | st.tuples(picks, st.integers(-1, 1))
plans = st.one_of(
    st.builds(Add, keys, st.lists(new_events, min_size=1, max_size=4)),
    st.builds(Add, keys, st.lists(new_events | extreme_events, min_size=1, max_size=2)),
    st.builds(Transact, keys, st.lists(new_events, min_size=1, max_size=3), st.booleans()),
    st.builds(Refund, keys, st.lists(parts, min_size=1, max_size=3), st.booleans()),
    st.builds(Undo, keys, st.lists(picks, min_size=1, max_size=2), st.none() | times),
    st.builds(Undo, keys, st.lists(st.none() | picks, min_size=1, max_size=2)),
    st.builds(UndoTransaction, keys, picks, st.none() | times),
    placements,
    st.builds(
        Settle,
        keys,
        st.sampled_from([None, *range(5)]) | picks,
        st.booleans(),
        st.none() | captured,
    ),
    st.builds(Repeat, picks),
)


class LedgerMachine(RuleBasedStateMachine):
    """Drives one fresh ledger and the model of it side by side.

    The ledger's clock stands at half past some hour since the start, and all that expires does so
    on the hour: whatever time the machine takes, both see the same.
    """

    ledgers: ClassVar[Ledgers]
    loop: ClassVar[asyncio.AbstractEventLoop]
    seen: ClassVar[Counter[str]]
    blocks_asked: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        self._start = datetime.now(UTC)
        self._hours = 0
        self._model = ModelLedger(self._start)
        self._sent: list[AppendRequest] = []
        self._searchable: set[str] = set()
        self._indexed: set[str] | None = set()
        self._resources = AsyncExitStack()
        ledger = self._wait(self._resources.enter_async_context(self.ledgers.fresh()))
        self._connection = self._wait(self._resources.enter_async_context(ledger.connection()))
        self._wait(make_blocks_small(self._connection))

    def teardown(self) -> None:
        self._wait(self._resources.aclose())

    @rule(plans=st.lists(plans, min_size=1, max_size=8))
    def append(self, plans: list[Plan]) -> None:
        self._append([self._request(plan) for plan in plans])

    @rule(
        events=st.lists(
            new_events, min_size=5, max_size=30, unique_by=lambda e: e.external_id or id(e)
        )
    )
    def append_batch(self, events: list[NewEvent]) -> None:
        self._append([append_request(*events)])

    @rule(legs=st.lists(takings, min_size=1, max_size=3))
    def transact_unbalanced(self, legs: list[NewEvent]) -> None:
        """With one leg more than sums to zero."""
        more = new_event(TILLS[0], 1, event_type=legs[0].event_type)
        self._append([append_request(*balanced(legs), more, transaction=True)])

    @precondition(lambda self: self._sent)
    @rule(pick=picks)
    def retry(self, pick: int) -> None:
        self._append([self._request(Repeat(pick))])

    @precondition(lambda self: self._model.events)
    @rule(pick=picks, number=st.integers(1, 3), at=st.none() | times)
    def reverse_at_once(self, pick: int, number: int, at: datetime | None) -> None:
        self._append([self._request(Undo(None, [pick], at)) for _ in range(number)])
        # Of the reversal, if there is one now.
        self._append([append_request(self._refund_of(self._model.events[-1], None))])

    @precondition(lambda self: self._plain())
    @rule(pick=picks, amount_minor=st.none() | st.integers(1, 300), alone=st.booleans())
    def refund_wrongly(self, pick: int, amount_minor: int | None, alone: bool) -> None:
        """Refund an event by misfits, and fittingly before or after that."""
        fitting = self._refund_of(self._picked(pick), amount_minor)
        misfits = [
            fitting.model_copy(update=change)
            for change in (
                {"account_id": "another"},
                {"currency": "EUR"},
                {"amount_minor": -fitting.amount_minor},
                {"refunds_event_id": UNKNOWN_ID},
            )
        ]
        together = [append_request(fitting, *misfits[pick % 4 :])]
        requests = [append_request(fitting), *map(append_request, misfits)]
        self._append(requests if alone else together + requests)

    @precondition(lambda self: self._plain())
    @rule(
        pick=picks,
        steps=st.lists(st.none() | st.integers(1, 300) | st.booleans(), min_size=2, max_size=6),
    )
    def give_back_at_once(self, pick: int, steps: list[int | bool | None]) -> None:
        """Refund an event in parts, and reverse it and what has undone it, by many requests."""
        related = self._related(self._picked(pick))
        requests = []
        for number, step in enumerate(steps):
            if isinstance(step, bool):
                undone = related[(number if step else 0) % len(related)]
                requests.append(append_request(undo(undone["event_id"])))
            else:
                requests.append(append_request(self._refund_of(related[0], step)))
        self._append(requests)
        _, *undoing = self._related(related[0])
        self._append([append_request(self._refund_of(event, 1)) for event in undoing])

    @precondition(lambda self: any(event["transaction_id"] for event in self._model.events))
    @rule(pick=picks)
    def reverse_a_leg_alone(self, pick: int) -> None:
        legs = [event["event_id"] for event in self._model.events if event["transaction_id"]]
        self._append([append_request(undo(legs[pick % len(legs)]))])

    @rule(holds=st.lists(placements, min_size=2, max_size=5))
    def place_at_once(self, holds: list[Hold]) -> None:
        self._append([self._request(hold) for hold in holds])

    @precondition(lambda self: self._model.holds)
    @rule(
        pick=picks,
        settlements=st.lists(
            st.tuples(st.booleans(), st.none() | captured), min_size=2, max_size=4
        ),
    )
    def settle_at_once(self, pick: int, settlements: list[tuple[bool, int | None]]) -> None:
        self._append(
            [self._request(Settle(None, pick, release, amount)) for release, amount in settlements]
        )

    @rule(
        least=st.just(0) | st.integers(-10, 10),
        changes=st.lists(
            st.lists(takings, min_size=1, max_size=3)
            | st.builds(new_hold, account_id=tills, amount_minor=st.integers(1, 10)),
            min_size=4,
            max_size=12,
        ),
    )
    def take_at_once(self, least: int, changes: list[list[NewEvent] | NewHold]) -> None:
        """Post to limited accounts, and hold on them, by many requests that want the same ids."""
        for account_id in TILLS:
            self._limit_account(account_id, "USD", least)
        self._append(
            [
                append_request(*(change if isinstance(change, list) else [change]))
                for change in changes
            ]
        )

    @rule(
        kind=st.sampled_from(["limit", "event type", "closed", "closed"]),
        account_id=accounts,
        currency=currencies,
        least=st.none() | st.just(0) | st.integers(-1000, 1000),
        event_type=st.sampled_from(EVENT_TYPES),
        sign=st.sampled_from(["positive", "negative", "any"]),
        closed=st.booleans(),
    )
    def set_rule(
        self,
        kind: str,
        account_id: str,
        currency: str,
        least: int | None,
        event_type: str,
        sign: str,
        closed: bool,
    ) -> None:
        match kind:
            case "limit":
                self._limit_account(account_id, currency, least)
            case "event type":
                assert self._wait(rules.declare_event_type(self._connection, event_type, sign, ""))
                self._model.signs[event_type] = sign
            case "closed":
                self._wait(rules.close_event_types(self._connection, closed=closed))
                self._model.closed = closed
                self._append([append_request(new_event(account_id, event_type="UNHEARD_OF"))])

    @rule(hours=st.integers(1, 4), plans=st.lists(plans, max_size=3), alone=st.booleans())
    def let_pass(self, hours: int, plans: list[Plan], alone: bool) -> None:
        """Time passes; holds expire by themselves, or with the next append."""
        requests = [self._request(plan) for plan in plans]
        self._hours += hours
        self._model.now = self._start + timedelta(hours=self._hours + 0.5)
        self._wait(set_clock(self._connection, self._model.now - self._start))
        if alone:
            self._expire_holds()
        # Nothing is in the way of the last one, so that the ledger ends at its new time.
        self._append([*requests, append_request(new_hold(CLOCK))])

    @precondition(lambda self: self._model.keys)
    @rule(pick=picks)
    def expire_key(self, pick: int) -> None:
        key = sorted(self._model.keys)[pick % len(self._model.keys)]
        self._wait(
            self._connection.execute(
                "UPDATE idempotency_keys SET expires_at = now() WHERE idempotency_key = $1", key
            )
        )
        self._model.expire_key(key)

    @rule(keys_max=st.integers(1, 3))
    def forget_expired_keys(self, keys_max: int) -> None:
        forgotten = self._wait(client.forget_expired_keys(self._connection, keys_max))
        left = {key for (key,) in self._table("idempotency_keys", "idempotency_key")}
        gone = set(self._model.keys) - left
        expired = self._model.expired_keys
        assert gone <= expired
        assert len(gone) == forgotten == min(keys_max, len(expired))
        for key in gone:
            self._model.forget(key)

    @rule(
        events_max=st.none() | st.integers(0, 6) | st.just(100_000),
        searchable=st.none() | st.sets(st.sampled_from(["plan", "a", "aa", "none"])),
    )
    def project(self, events_max: int | None, searchable: set[str] | None) -> None:
        """Apply some events, or make the state anew from all; let other metadata be searchable."""
        if searchable is not None:
            self._searchable = searchable
            keys = sorted(searchable)
            self._wait(rules.declare_searchable_metadata(self._connection, keys))
        before = self._model.projected
        if events_max is None:
            self._model.projected = len(self._model.events)
            assert self._wait(client.rebuild(self._connection)) == len(self._model.events)
            self._indexed = set(self._searchable)
            return
        self._model.projected = min(before + events_max, len(self._model.events))
        done = self._wait(client.project(self._connection, events_max))
        assert (done.from_seq, done.last_seq) == (before + 1, self._model.projected)
        assert done.head_seq == len(self._model.events)
        self._check_next_hold_expiry(done.next_hold_expiry)
        self._indexed = None if done.unindexed else set(self._searchable)

    @precondition(lambda self: self._model.events)
    @rule(questions=st.lists(st.tuples(sides, sides), min_size=1, max_size=5))
    def ask_for_the_past(self, questions: list[tuple[Side | None, Side | None]]) -> None:
        """Ask what the books said at times of events, and just before or after them."""
        for as_of, known_at in questions:
            moment = Moment(
                self._time("transaction_time", as_of), self._time("recorded_at", known_at)
            )
            expected = replay_until(moment, self._model.events)
            found = self._wait(balances_at(self._connection, EVERYBODY, moment))
            assert past_balances_of(found) == expected
            listed, _ = self._wait(list_balances_at(self._connection, moment, rows_max=1000))
            assert list(past_balances_of(listed).items()) == sorted(expected.items())
            summed = self._wait(
                totals(self._connection, moment, account_prefix="till", currency=None)
            )
            if moment != NOW:
                assert [tuple(row) for row in summed] == totals_of(expected, "till")
        type(self).blocks_asked += len(self._table("account_blocks", "block_seq"))

    def _time(self, name: str, side: Side | None) -> datetime | None:
        if side is None:
            return None
        pick, microseconds = side
        event = self._model.events[pick % len(self._model.events)]
        instant: datetime = event[name]
        return instant + timedelta(microseconds=microseconds)

    @invariant()
    def events_are_the_models_events(self) -> None:
        """Nothing is missing, nothing was added, nothing has changed; refusals left no trace."""
        rows = self._wait(search.events(self._connection, rows_max=100_000))
        assert [dict(row) for row in rows] == self._model.events
        assert self._table("external_ids") == set(self._model.external_ids.items())
        assert self._table("reversals") == set(self._model.reversals.items())
        assert self._table(
            "idempotency_keys", "idempotency_key, fingerprint, first_event_id, last_event_id"
        ) == {(key, *facts) for key, facts in self._model.keys.items()}
        assert self._table("holds") == {
            (hold_id, *facts) for hold_id, facts in self._model.holds.items()
        }

    @invariant()
    def no_hold_expires_before_its_time_is_noted(self) -> None:
        ((noted,),) = self._table("ledger_settings", "next_hold_expiry")
        self._check_next_hold_expiry(noted)

    @invariant()
    def order_is_exact(self) -> None:
        events = self._model.events
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        for earlier, later in pairwise(events):
            assert earlier["event_id"].bytes < later["event_id"].bytes
            assert earlier["recorded_at"] <= later["recorded_at"]
        for event in events:
            assert_uuid_v7(event["event_id"], event["recorded_at"])

    @invariant()
    def proof_holds(self) -> None:
        head = self._wait(client.head(self._connection))
        found = self._wait(client.verify(self._connection))
        events = self._model.events
        assert (found.ok, found.events_checked) == (True, len(events))
        assert (found.head_seq, found.head_hash) == (head.seq, head.hash)
        if events:
            last = events[-1]
            assert (head.seq, head.event_id, head.hash, head.recorded_at) == (
                last["seq"],
                last["event_id"],
                last["hash"],
                last["recorded_at"],
            )

    @invariant()
    def balances_are_a_replay(self) -> None:
        projected = self._wait(client.balances(self._connection, EVERYBODY))
        strong = self._wait(client.balances(self._connection, EVERYBODY, strong=True))
        assert balances_of(projected) == self._model.projected_balances()
        assert balances_of(strong) == self._model.strong_balances()
        assert self._wait(client.reconcile(self._connection)) == []
        lag = self._wait(client.projection_lag(self._connection))
        assert (lag.head_seq, lag.projected_seq) == (len(self._model.events), self._model.projected)

    @invariant()
    def activity_is_a_replay(self) -> None:
        assert self._table("activity_rollups") == self._model.projected_activity()
        assert self._wait(client.reconcile_activity(self._connection)) == []

    @invariant()
    def searchable_metadata_is_a_replay(self) -> None:
        # Otherwise an index is on its way.
        if self._indexed is not None:
            assert self._table("metadata_values") == self._model.projected_metadata(self._indexed)
        assert self._wait(client.reconcile_metadata(self._connection)) == []

    def _limit_account(self, account_id: str, currency: str, least: int | None) -> None:
        self._wait(rules.limit_account(self._connection, account_id, currency, least))
        if least is None:
            self._model.limits.pop((account_id, currency), None)
        else:
            self._model.limits[account_id, currency] = least

    def _append(self, requests: list[AppendRequest]) -> None:
        appended = self._wait(append.append(self._connection, requests))
        rows = self._new_rows()
        new = len(rows) - appended.created
        self._check_expired(rows[:new])
        created = iter(rows[new:])
        for request, answer in zip(requests, appended.answers, strict=True):
            self._check_answer(request, answer, created)
        assert next(created, None) is None
        self._sent.extend(requests)

        news_from = rows[0]["seq"] if rows else None
        if any(answer.outcome is Outcome.REPLAYED for answer in appended.answers):
            news_from = news_from or len(self._model.events)
        assert appended.news_from == news_from
        if self._model.events:
            last = self._model.events[-1]
            assert (appended.last_seq, appended.last_event_id, appended.last_hash) == (
                last["seq"],
                last["event_id"],
                last["hash"],
            )

    def _expire_holds(self) -> None:
        settled = self._wait(client.expire_holds(self._connection))
        self._check_expired(self._new_rows())
        assert settled.last_seq == len(self._model.events)
        self._check_next_hold_expiry(settled.next_hold_expiry)

    def _new_rows(self) -> list[Row]:
        """The events that the model does not know yet."""
        events = self._model.events
        after = events[-1]["event_id"] if events else None
        rows = self._wait(search.events(self._connection, after=after, rows_max=100_000))
        return [dict(row) for row in rows]

    def _check_expired(self, rows: list[Row]) -> None:
        due = {facts["hold_id"]: facts for facts in self._model.due()}
        assert {row["hold_id"]: facts_of(row, row) for row in rows} == due
        assert len(rows) == len(due)
        self._model.expire_holds(rows)

    def _check_answer(self, request: AppendRequest, answer: Answer, created: Iterator[Row]) -> None:
        decision = self._model.decide(request)
        self.seen[decision.outcome] += 1
        assert (answer.outcome, answer.conflicting_id, answer.index, answer.room) == (
            decision.outcome,
            decision.conflicting_id,
            decision.index,
            decision.room,
        )
        rows = [dict(row) for row in answer.events]
        if decision.outcome is not Outcome.CREATED:
            assert rows == decision.rows
            return
        new = list(islice(created, len(decision.facts)))
        assert [facts_of(row, new[0]) for row in new] == decision.facts
        assert answer.seqs == (new[0]["seq"], new[-1]["seq"])
        self._model.create(request, new, rows)
        # The answer to a settlement is the hold's whole life.
        hold_id = new[0]["hold_id"]
        assert rows == [
            event
            for event in self._model.events
            if event in new or (hold_id is not None and event["hold_id"] == hold_id)
        ]

    def _check_next_hold_expiry(self, noted: datetime | None) -> None:
        pending = self._model.pending_expiries.values()
        assert not pending or (noted is not None and noted <= min(pending))

    def _request(self, plan: Plan) -> AppendRequest:
        if isinstance(plan, Repeat):
            if not self._sent:
                return append_request(new_event(ACCOUNTS[0]))
            return self._sent[plan.pick % len(self._sent)]
        transaction = isinstance(plan, Transact | UndoTransaction) or (
            isinstance(plan, Refund) and plan.balanced
        )
        return append_request(*self._additions(plan), key=plan.key, transaction=transaction)

    def _additions(
        self, plan: Add | Transact | Refund | Undo | UndoTransaction | Hold | Settle
    ) -> Sequence[Addition]:
        match plan:
            case Add():
                return plan.events
            case Transact() | Refund():
                legs = plan.legs if isinstance(plan, Transact) else self._refunds(plan)
                return balanced(legs) if plan.balanced else legs
            case Undo():
                return [undo(self._event_id(pick), at=plan.at) for pick in plan.picks]
            case UndoTransaction():
                return [undo(self._transaction_id(plan.pick), at=plan.at)]
            case Hold():
                return [self._hold(plan)]
            case Settle():
                hold_id = self._hold_id(plan.pick)
                return [Release(hold_id) if plan.release else Capture(hold_id, plan.amount_minor)]

    def _hold(self, plan: Hold) -> NewHold:
        if plan.expires_in_h is None:
            return plan.hold
        expires_at = self._start + timedelta(hours=self._hours + plan.expires_in_h)
        return plan.hold.model_copy(update={"expires_at": expires_at})

    def _refunds(self, plan: Refund) -> list[NewEvent]:
        events = self._model.events
        if not events:
            return [new_event(refunds=UNKNOWN_ID)]
        return [
            self._refund_of(events[part.pick % len(events)], part.amount_minor)
            for part in plan.parts
        ]

    def _refund_of(self, event: Row, amount_minor: int | None) -> NewEvent:
        """What refunds an amount of an event, or all of it, as far as one event can."""
        wanted = min(amount_minor or abs(event["amount_minor"]) or 1, 2**63 - 1)
        return new_event(
            event["account_id"],
            -wanted if event["amount_minor"] > 0 else wanted,
            currency=event["currency"],
            event_type="REFUND",
            refunds=event["event_id"],
        )

    def _plain(self) -> list[Row]:
        """The events that can be refunded, as long as anything is left of them."""
        return [
            event
            for event in self._model.events
            if event["amount_minor"]
            and event["reverses_event_id"] is None
            and event["refunds_event_id"] is None
        ]

    def _picked(self, pick: int) -> Row:
        plain = self._plain()
        return plain[pick % len(plain)]

    def _related(self, event: Row) -> list[Row]:
        """An event, what refunds or reverses it, and what reverses that."""
        related = [event]
        names = ("reverses_event_id", "refunds_event_id")
        for later in self._model.events:
            ids = {one["event_id"] for one in related}
            if any(later[name] in ids for name in names):
                related.append(later)
        return related

    def _event_id(self, pick: int | None) -> UUID:
        events = self._model.events
        if pick is None or not events:
            return UNKNOWN_ID
        found: UUID = events[pick % len(events)]["event_id"]
        return found

    def _transaction_id(self, pick: int) -> UUID:
        # An event's id where there is none, or one leg's.
        named = {event["transaction_id"] or event["event_id"] for event in self._model.events}
        return sorted(named)[pick % len(named)] if named else UNKNOWN_ID

    def _hold_id(self, pick: int | None) -> UUID:
        if pick is None or not self._model.holds:
            return UNKNOWN_ID
        pending = [hold_id for hold_id, (_, settled) in self._model.holds.items() if not settled]
        # Half of them may be settled already.
        holds = pending if pick % 2 and pending else list(self._model.holds)
        return holds[pick // 2 % len(holds)]

    def _table(self, name: str, columns: str = "*") -> set[tuple[Any, ...]]:
        rows = self._wait(self._connection.fetch(f"SELECT {columns} FROM {name}"))
        return {tuple(row) for row in rows}

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.loop.run_until_complete(work)


def test_the_ledger_agrees_with_the_model_whatever_is_asked_of_it(ledgers: Ledgers) -> None:
    class Machine(LedgerMachine):
        pass

    Machine.ledgers = ledgers
    Machine.loop = asyncio.new_event_loop()
    Machine.seen = Counter()
    Machine.blocks_asked = 0
    usual = settings()
    # Fewer and longer runs than usual: each begins with a database of its own.
    chosen = settings(
        max_examples=usual.max_examples // 4, stateful_step_count=usual.stateful_step_count * 3 // 2
    )
    try:
        for number in range(ROUNDS_MAX):
            if usual.derandomize:
                seed(number)(Machine)
            run_state_machine_as_test(Machine, settings=chosen)
            if number > 0 and set(Machine.seen) == set(Outcome):
                break
    finally:
        Machine.loop.close()
    # The test is worth something only if it went everywhere.
    assert set(Machine.seen) == set(Outcome)
    assert Machine.blocks_asked > 0


def facts_of(row: Row, first: Row) -> Row:
    """The part of a row that the model knows beforehand; `first` is its request's first one."""
    facts = {**row, "metadata": json.loads(row["metadata_json"])}
    for name in ("event_id", "seq", "recorded_at", "metadata_json", "hash"):
        del facts[name]
    if row["transaction_time"] == row["recorded_at"]:
        facts["transaction_time"] = None
    if row["transaction_id"] == first["event_id"]:
        facts["transaction_id"] = FIRST
    if row["hold_id"] == row["event_id"]:
        facts["hold_id"] = ITS_OWN
    return facts


def balanced(legs: list[NewEvent]) -> list[NewEvent]:
    """Add what makes the legs sum to zero in each currency, as far as amounts go."""
    sums: dict[str, int] = {}
    for leg in legs:
        sums[leg.currency] = sums.get(leg.currency, 0) + leg.amount_minor
    return legs + [
        new_event(ACCOUNTS[0], -amount, currency=currency, event_type=legs[0].event_type)
        for currency, amount in sums.items()
        if amount and abs(amount) <= AMOUNT_MAX
    ]


def balances_of(rows: Iterable[Record]) -> dict[tuple[str, str], Balance]:
    return {
        (row["account_id"], row["currency"]): (
            row["current_balance_minor"],
            row["held_minor"],
            row["event_count"],
            row["last_ledger_event_id"],
            row["last_seq"],
        )
        for row in rows
    }


def past_balances_of(rows: Iterable[Record]) -> dict[Account, PastBalance]:
    return {
        (row["account_id"], row["currency"]): (
            row["current_balance_minor"],
            row["event_count"],
            row["last_ledger_event_id"],
            row["last_seq"],
            row["last_updated_time"],
        )
        for row in rows
    }


def totals_of(
    balances: Mapping[Account, PastBalance], account_prefix: str
) -> list[tuple[str, int, int, int]]:
    """Sum balances by currency: the amount, the accounts that had an event, and the events."""
    sums: dict[str, tuple[int, int, int]] = {}
    for (account_id, currency), (amount, number, *_) in balances.items():
        if account_id.startswith(account_prefix):
            all_amount, accounts, all_number = sums.get(currency, (0, 0, 0))
            sums[currency] = (all_amount + amount, accounts + bool(number), all_number + number)
    return [(currency, *sums[currency]) for currency in sorted(sums)]


def assert_uuid_v7(event_id: UUID, recorded_at: datetime) -> None:
    """RFC 9562, section 5.7: 48 bits of milliseconds, version 7, variant 10."""
    since_epoch = recorded_at - datetime(1970, 1, 1, tzinfo=UTC)
    milliseconds = since_epoch.days * 86_400_000 + since_epoch.seconds * 1000
    milliseconds += since_epoch.microseconds // 1000
    assert event_id.int >> 80 == milliseconds
    assert event_id.int >> 76 & 0xF == 7
    assert event_id.int >> 62 & 0b11 == 0b10
