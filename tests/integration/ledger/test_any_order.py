"""The SQL ledger against a model: calls of every kind, in any order, and what always holds."""

import asyncio
import json
from collections import Counter
from collections.abc import Coroutine, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, ClassVar, TypeVar
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from freehold.contracts.events import NewEvent
from freehold.ledger import client
from freehold.ledger.client import Answer, AppendRequest, Outcome, Record
from support.builders import append_request, new_event, undo
from support.ledgers import Ledgers
from support.model import Balance, ModelLedger, Row

Result = TypeVar("Result")

ACCOUNTS = ["a", "cus_42", "Z:9@x.y-z_"]
NOBODY = UUID("019ca9a8-5a00-7000-8000-0007c0a8d5e1")


@dataclass(frozen=True)
class Add:
    """Ask for new events, under one of a few keys or one of its own."""

    key: str | None
    events: list[NewEvent]


@dataclass(frozen=True)
class Undo:
    """Ask for reversals; a number picks an event, and none picks one that does not exist."""

    key: str | None
    picks: list[int | None]


@dataclass(frozen=True)
class Repeat:
    """Send an earlier request again."""

    pick: int


Plan = Add | Undo | Repeat

times = st.integers(0, 3_900_000_000_000_000).map(
    lambda microseconds: datetime(1900, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
)
keys = st.none() | st.sampled_from([f"shared-{number}" for number in range(6)])
new_events = st.builds(
    new_event,
    account_id=st.sampled_from(ACCOUNTS),
    amount_minor=st.integers(-1000, 1000).filter(bool) | st.sampled_from([2**63 - 1, -(2**63)]),
    currency=st.sampled_from(["USD", "JPY"]),
    event_type=st.sampled_from(["CHARGE", "REFUND"]),
    transaction_time=st.none() | times,
    external_id=st.none() | st.sampled_from([f"ext-{number}" for number in range(12)]),
    metadata=st.none() | st.sampled_from([{"plan": "pro"}, {"b": 'é"\\', "a": "", "aa": "😀"}]),
)
picks = st.integers(0, 1000)
plans = (
    st.builds(Add, keys, st.lists(new_events, min_size=1, max_size=4))
    | st.builds(Undo, keys, st.lists(picks, min_size=1, max_size=2))
    | st.builds(Undo, keys, st.lists(st.none() | picks, min_size=1, max_size=2))
    | st.builds(Repeat, picks)
)


class LedgerMachine(RuleBasedStateMachine):
    """Drives one fresh ledger and the model of it side by side."""

    ledgers: ClassVar[Ledgers]
    loop: ClassVar[asyncio.AbstractEventLoop]
    seen: ClassVar[Counter[str]]

    def __init__(self) -> None:
        super().__init__()
        self._model = ModelLedger()
        self._sent: list[AppendRequest] = []
        self._resources = AsyncExitStack()
        ledger = self._wait(self._resources.enter_async_context(self.ledgers.fresh()))
        self._connection = self._wait(self._resources.enter_async_context(ledger.connection()))

    def teardown(self) -> None:
        self._wait(self._resources.aclose())

    @rule(plans=st.lists(plans, min_size=1, max_size=5))
    def append(self, plans: list[Plan]) -> None:
        self._append([self._request(plan) for plan in plans])

    @rule(
        events=st.lists(
            new_events, min_size=5, max_size=30, unique_by=lambda e: e.external_id or id(e)
        )
    )
    def append_batch(self, events: list[NewEvent]) -> None:
        self._append([append_request(*events)])

    @precondition(lambda self: self._sent)
    @rule(pick=picks)
    def retry(self, pick: int) -> None:
        self._append([self._request(Repeat(pick))])

    @precondition(lambda self: self._model.events)
    @rule(pick=picks, times=st.integers(1, 3))
    def reverse_at_once(self, pick: int, times: int) -> None:
        self._append([self._request(Undo(None, [pick])) for _ in range(times)])

    @precondition(lambda self: self._model.keys)
    @rule(pick=picks)
    def expire_key(self, pick: int) -> None:
        key = sorted(self._model.keys)[pick % len(self._model.keys)]
        self._wait(
            self._connection.execute(
                "UPDATE idempotency_keys SET expires_at = now() WHERE idempotency_key = $1", key
            )
        )
        self._model.expire(key)

    @rule(events_max=st.integers(0, 6) | st.just(100_000))
    def project(self, events_max: int) -> None:
        before = self._model.projected
        self._model.projected = min(before + events_max, len(self._model.events))
        done = self._wait(client.project(self._connection, events_max))
        assert (done.from_seq, done.last_seq) == (before + 1, self._model.projected)
        assert done.head_seq == len(self._model.events)

    @rule()
    def rebuild(self) -> None:
        self._model.projected = len(self._model.events)
        assert self._wait(client.rebuild(self._connection)) == len(self._model.events)

    @invariant()
    def events_are_the_models_events(self) -> None:
        """Nothing is missing, nothing was added, nothing has changed; refusals left no trace."""
        rows = self._wait(
            client.events(self._connection, account_id=None, after=None, rows_max=100_000)
        )
        assert [dict(row) for row in rows] == self._model.events
        assert self._table("external_ids") == set(self._model.external_ids.items())
        assert self._table("reversals") == set(self._model.reversals.items())
        assert self._table(
            "idempotency_keys", "idempotency_key, fingerprint, first_event_id, last_event_id"
        ) == {(key, *facts) for key, facts in self._model.keys.items()}

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
        projected = self._wait(client.balances(self._connection, ACCOUNTS))
        strong = self._wait(client.balances(self._connection, ACCOUNTS, strong=True))
        assert balances_of(projected) == self._model.projected_balances()
        assert balances_of(strong) == self._model.strong_balances()
        assert self._wait(client.reconcile(self._connection)) == []
        lag = self._wait(client.projection_lag(self._connection))
        assert (lag.head_seq, lag.projected_seq) == (
            len(self._model.events),
            self._model.projected,
        )

    def _append(self, requests: list[AppendRequest]) -> None:
        answers = self._wait(client.append(self._connection, requests))
        assert len(answers) == len(requests)
        for request, answer in zip(requests, answers, strict=True):
            self._check_answer(request, answer)
        self._sent.extend(requests)

    def _check_answer(self, request: AppendRequest, answer: Answer) -> None:
        decision = self._model.decide(request)
        self.seen[decision.outcome] += 1
        assert (answer.outcome, answer.conflicting_event_id) == (
            decision.outcome,
            decision.conflicting_event_id,
        )
        rows = [event_row(row) for row in answer.events]
        if decision.outcome is Outcome.CREATED:
            assert [
                facts_of(row, facts) for row, facts in zip(rows, decision.facts, strict=True)
            ] == decision.facts
            first = rows[0]["seq"]
            assert [row["seq"] for row in rows] == list(range(first, first + len(rows)))
            self._model.create(request, rows)
        else:
            assert rows == decision.rows

    def _request(self, plan: Plan) -> AppendRequest:
        if isinstance(plan, Repeat):
            if not self._sent:
                return append_request(new_event(ACCOUNTS[0]))
            return self._sent[plan.pick % len(self._sent)]
        if isinstance(plan, Add):
            return append_request(*plan.events, key=plan.key)
        return append_request(*(undo(self._event_id(pick)) for pick in plan.picks), key=plan.key)

    def _event_id(self, pick: int | None) -> UUID:
        events = self._model.events
        if pick is None or not events:
            return NOBODY
        found: UUID = events[pick % len(events)]["event_id"]
        return found

    def _table(self, name: str, columns: str = "*") -> set[tuple[Any, ...]]:
        rows = self._wait(self._connection.fetch(f"SELECT {columns} FROM {name}"))
        return {tuple(row) for row in rows}

    def _wait(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.loop.run_until_complete(work)


@pytest.mark.timeout(600)  # a failure takes its time to be made small
def test_the_ledger_agrees_with_the_model_whatever_is_asked_of_it(ledgers: Ledgers) -> None:
    class Machine(LedgerMachine):
        pass

    Machine.ledgers = ledgers
    Machine.loop = asyncio.new_event_loop()
    Machine.seen = Counter()
    try:
        run_state_machine_as_test(Machine, settings=settings())
    finally:
        Machine.loop.close()
    # The test is worth something only if it went everywhere.
    assert set(Machine.seen) == set(Outcome)


def event_row(row: Record) -> Row:
    """The columns of an event in an answer: those that reading the event gives."""
    answer = dict(row)
    for name in ("request", "outcome", "conflicting_event_id"):
        del answer[name]
    return answer


def facts_of(row: Row, expected: Row) -> Row:
    """The part of a row that the model knows beforehand."""
    facts = {**row, "metadata": json.loads(row["metadata_json"])}
    if expected["transaction_time"] is None and row["transaction_time"] == row["recorded_at"]:
        facts["transaction_time"] = None
    return {name: facts[name] for name in expected}


def balances_of(rows: Iterable[Record]) -> dict[tuple[str, str], Balance]:
    return {
        (row["account_id"], row["currency"]): (
            row["current_balance_minor"],
            row["event_count"],
            row["last_ledger_event_id"],
            row["last_seq"],
        )
        for row in rows
    }


def assert_uuid_v7(event_id: UUID, recorded_at: datetime) -> None:
    """RFC 9562, section 5.7: 48 bits of milliseconds, version 7, variant 10."""
    since_epoch = recorded_at - datetime(1970, 1, 1, tzinfo=UTC)
    milliseconds = since_epoch.days * 86_400_000 + since_epoch.seconds * 1000
    milliseconds += since_epoch.microseconds // 1000
    assert event_id.int >> 80 == milliseconds
    assert event_id.int >> 76 & 0xF == 7
    assert event_id.int >> 62 & 0b11 == 0b10
