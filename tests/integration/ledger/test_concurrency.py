"""Many connections on one ledger: one order, no gap for any reader, no deadlock."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import accumulate
from typing import TypeVar
from uuid import UUID

import pytest

from freehold.ledger import client, rules, search
from freehold.ledger.append import Answer, AppendRequest, Capture, Outcome, Release
from freehold.ledger.client import Connection, Record
from support.builders import append, append_request, new_event, new_hold, undo
from support.ledgers import Ledger
from support.waiting import eventually

Result = TypeVar("Result")

WRITERS = 16
READERS = 4
CALLS_EACH = 30


@pytest.fixture
async def connections(ledger: Ledger) -> AsyncIterator[list[Connection]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(ledger.connection()) for _ in range(WRITERS)]


class Reader:
    """Polls for what came after the last event it has seen, as every consumer of a ledger does."""

    def __init__(self) -> None:
        self.last_seq = 0
        self.last_event_id: UUID | None = None

    async def read_on(self, connection: Connection, rows_max: int) -> bool:
        """Read one page; whether there was anything."""
        rows = await search.events(connection, after=self.last_event_id, rows_max=rows_max)
        for row in rows:
            assert row["seq"] == self.last_seq + 1
            self.last_seq, self.last_event_id = row["seq"], row["event_id"]
        return bool(rows)

    async def follow(self, ledger: Ledger, written: asyncio.Event, rows_max: int) -> int:
        """Read until the writers have finished and nothing is left; the number of events read."""
        async with ledger.connection() as connection:
            while True:
                finished = written.is_set()
                if not await self.read_on(connection, rows_max) and finished:
                    return self.last_seq


async def write(connection: Connection, seed: int) -> int:
    """Append in calls of many shapes; each request moves money from one account to another."""
    chance = random.Random(seed)
    written = 0
    for _ in range(CALLS_EACH):
        requests = [transfer(chance) for _ in range(chance.randint(1, 3))]
        answers = await append(connection, requests)
        assert {answer.outcome for answer in answers} == {Outcome.CREATED}
        written += sum(len(answer.events) for answer in answers)
    return written


def transfer(chance: random.Random) -> AppendRequest:
    amount = chance.randint(1, 1000)
    source, target = chance.sample(["a", "b", "c"], 2)
    return append_request(new_event(source, -amount), new_event(target, amount))


async def project_until(ledger: Ledger, written: asyncio.Event) -> None:
    """Project, and now and then rebuild, as competing projectors would."""
    chance = random.Random(0)
    async with ledger.connection() as connection:
        while not written.is_set():
            if chance.random() < 0.1:
                await client.rebuild(connection)
            else:
                await client.project(connection, chance.randint(1, 50))


async def watch_the_total(ledger: Ledger, written: asyncio.Event) -> None:
    """A strong read never shows a transfer half done, whatever is going on."""
    async with ledger.connection() as connection:
        while not written.is_set():
            rows = await client.balances(connection, ["a", "b", "c"], strong=True)
            assert sum(row["current_balance_minor"] for row in rows) == 0


async def check_proof(ledger: Ledger, written: asyncio.Event) -> None:
    async with ledger.connection() as connection:
        while not written.is_set():
            assert (await client.verify(connection)).ok
            assert await client.reconcile(connection) == []


async def test_readers_see_every_event_in_order_while_many_write(
    ledger: Ledger, connections: list[Connection]
) -> None:
    written = asyncio.Event()
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        readers = [
            group.create_task(Reader().follow(ledger, written, rows_max))
            for rows_max in (1, 3, 10, 1000)[:READERS]
        ]
        for companion in (project_until, project_until, watch_the_total, check_proof):
            group.create_task(companion(ledger, written))
        numbers = await asyncio.gather(
            *(write(connection, seed) for seed, connection in enumerate(connections))
        )
        written.set()

    connection = connections[0]
    head = await client.head(connection)
    assert head.seq == sum(numbers)
    assert [reader.result() for reader in readers] == [head.seq] * READERS
    assert (await client.project(connection, head.seq)).last_seq == head.seq
    rows = await client.balances(connection, ["a", "b", "c"])
    assert sum(row["event_count"] for row in rows) == head.seq
    assert await client.reconcile(connection) == []
    assert (await client.verify(connection)).events_checked == head.seq


async def send_at_once(connections: list[Connection], *requests: AppendRequest) -> list[Answer]:
    """Send a request over each connection, at the same time."""
    answers = await asyncio.gather(
        *(
            append(connection, [requests[place % len(requests)]])
            for place, connection in enumerate(connections)
        )
    )
    return [answer for (answer,) in answers]


def outcomes(answers: list[Answer]) -> Counter[Outcome]:
    return Counter(answer.outcome for answer in answers)


async def test_one_key_sent_by_many_at_once_creates_once(connections: list[Connection]) -> None:
    answers = await send_at_once(connections, append_request(new_event(), new_event("cus_2")))
    assert outcomes(answers) == {Outcome.CREATED: 1, Outcome.REPLAYED: WRITERS - 1}
    assert len({tuple(row["hash"] for row in answer.events) for answer in answers}) == 1
    assert (await client.head(connections[0])).seq == 2


async def test_one_key_for_many_requests_at_once_serves_one_of_them(
    connections: list[Connection],
) -> None:
    requests = [
        append_request(new_event("cus_1", place + 1), key="same") for place in range(WRITERS)
    ]
    answers = await send_at_once(connections, *requests)
    assert outcomes(answers) == {Outcome.CREATED: 1, Outcome.KEY_REUSED: WRITERS - 1}
    assert (await client.head(connections[0])).seq == 1


async def test_one_external_id_sent_by_many_at_once_is_taken_once(
    connections: list[Connection],
) -> None:
    requests = [append_request(new_event(external_id="ch_1")) for _ in range(WRITERS)]
    answers = await send_at_once(connections, *requests)
    assert outcomes(answers) == {Outcome.CREATED: 1, Outcome.DUPLICATE_EXTERNAL_ID: WRITERS - 1}
    (created,) = [answer for answer in answers if answer.outcome is Outcome.CREATED]
    assert {answer.conflicting_id for answer in answers if answer is not created} == {
        created.events[0]["event_id"]
    }


async def test_one_event_reversed_by_many_at_once_is_reversed_once(
    connections: list[Connection],
) -> None:
    (first,) = await append(connections[0], [append_request(new_event())])
    target = first.events[0]["event_id"]
    requests = [append_request(undo(target)) for _ in range(WRITERS)]
    answers = await send_at_once(connections, *requests)
    assert outcomes(answers) == {Outcome.CREATED: 1, Outcome.ALREADY_REVERSED: WRITERS - 1}
    (total,) = await client.balances(connections[0], ["cus_1"], strong=True)
    assert (total["current_balance_minor"], total["event_count"]) == (0, 2)


async def test_one_hold_settled_by_many_at_once_is_settled_once(
    connections: list[Connection],
) -> None:
    (placed,) = await append(connections[0], [append_request(new_hold(amount_minor=300))])
    hold_id = placed.events[0]["hold_id"]
    settlements = (Capture(hold_id), Capture(hold_id, 1), Release(hold_id))
    requests = [append_request(settlements[place % 3]) for place in range(WRITERS)]
    answers = await send_at_once(connections, *requests)
    assert outcomes(answers) == {Outcome.CREATED: 1, Outcome.HOLD_NOT_PENDING: WRITERS - 1}
    (settled,) = [answer for answer in answers if answer.outcome is Outcome.CREATED]
    assert {answer.conflicting_id for answer in answers if answer is not settled} == {
        settled.events[1]["event_id"]
    }
    (total,) = await client.balances(connections[0], ["cus_1"], strong=True)
    posted = settled.events[1]["amount_minor"]
    assert (total["current_balance_minor"], total["held_minor"]) == (posted, 0)


async def project_in_steps(ledger: Ledger, written: asyncio.Event, events_max: int) -> None:
    async with ledger.connection() as connection:
        while not written.is_set():
            await client.project(connection, events_max)


async def while_projecting(
    ledger: Ledger, work: Callable[[], Awaitable[Result]], events_max: int
) -> Result:
    """Do something while two projectors move the state on, `events_max` events at a time."""
    written = asyncio.Event()
    async with asyncio.timeout(90), asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(project_in_steps(ledger, written, events_max))
        try:
            return await work()
        finally:
            written.set()


async def withdraw(connection: Connection, number: int, taken: Counter[Outcome]) -> None:
    """Take 7 `number` times: by events, by holds and, twice, by one call of two requests."""
    for place in range(number):
        take = [
            append_request(new_event(amount_minor=-7)),
            append_request(new_hold(amount_minor=7)),
        ]
        answers = await append(connection, take if place % 4 == 0 else take[place % 2 :][:1])
        taken.update(outcomes(answers))


def available(events: list[Record], account_id: str) -> list[int]:
    """What was available of an account after each of its events."""
    changes = (
        event["amount_minor"] - (event["held_minor"] or 0)
        for event in events
        if event["account_id"] == account_id
    )
    return list(accumulate(changes))


async def all_events(connection: Connection) -> list[Record]:
    return await search.events(connection, rows_max=100_000)


@pytest.mark.parametrize(("backlog", "events_max"), [(0, 3), (2000, 20)])
async def test_withdrawals_at_once_never_take_more_than_there_is(
    ledger: Ledger, connections: list[Connection], backlog: int, events_max: int
) -> None:
    first = connections[0]
    # The projectors are far behind to begin with, or stay close all the time.
    to_and_fro = [new_event(amount_minor=amount) for _ in range(backlog) for amount in (1, -1)]
    await append(first, [append_request(new_event(amount_minor=350), *to_and_fro)])
    await rules.limit_account(first, "cus_1", "USD", 0)
    taken: Counter[Outcome] = Counter()

    async def work() -> None:
        await asyncio.gather(*(withdraw(connection, 8, taken) for connection in connections))

    await while_projecting(ledger, work, events_max)
    assert taken == {Outcome.CREATED: 50, Outcome.INSUFFICIENT_FUNDS: WRITERS * 10 - 50}
    history = available(await all_events(first), "cus_1")
    assert (min(history), history[-1]) == (0, 0)
    await client.project(first, 100_000)
    assert await client.reconcile(first) == []


RULES = {
    "SELECT limit_account('cus_1', 'USD', 0)": Outcome.INSUFFICIENT_FUNDS,
    "SELECT declare_event_type('CHARGE', 'positive', '', 9)": Outcome.EVENT_TYPE_SIGN,
    "SELECT close_event_types(true)": Outcome.EVENT_TYPE_UNKNOWN,
}


@pytest.mark.parametrize("rule", RULES)
async def test_a_rule_and_an_append_wait_for_each_other(
    connections: list[Connection], rule: str
) -> None:
    writer, ruler = connections[:2]
    take = new_event(amount_minor=-1)
    async with writer.transaction():
        (answer,) = await append(writer, [append_request(take)])
        ruling = asyncio.create_task(ruler.execute(rule))
        await asyncio.sleep(0.05)
        assert not ruling.done()
    await ruling
    assert answer.outcome is Outcome.CREATED
    async with ruler.transaction():
        await ruler.execute(rule)
        taking = asyncio.create_task(append(writer, [append_request(take)]))
        await asyncio.sleep(0.05)
        assert not taking.done()
    (answer,) = await taking
    assert answer.outcome is RULES[rule]


async def test_a_rule_holds_for_every_append_from_the_moment_it_is_set(
    ledger: Ledger, connections: list[Connection]
) -> None:
    ruler, *writers = connections
    done = asyncio.Event()
    written = 50

    async def write_on(connection: Connection) -> None:
        while not done.is_set():
            fee = new_event(amount_minor=-1, event_type="FEE")
            await append(
                connection, [append_request(fee), append_request(new_event("x", event_type="X"))]
            )

    async def written_since() -> int:
        """The seq that some events were written after, all of them since now."""
        seq = (await client.head(ruler)).seq

        async def grown() -> bool:
            return (await client.head(ruler)).seq >= seq + written

        await eventually(grown, "more events", every_s=0.001)
        return seq

    async def work() -> list[int]:
        async with asyncio.TaskGroup() as group:
            for connection in writers:
                group.create_task(write_on(connection))
            seqs = [await written_since()]
            await rules.declare_event_type(ruler, "FEE", "negative", "")
            await rules.close_event_types(ruler, closed=True)
            seqs.append(await written_since())
            await rules.close_event_types(ruler, closed=False)
            await rules.limit_account(ruler, "cus_1", "USD", 0)
            seqs.append(await written_since())
            await rules.limit_account(ruler, "cus_1", "USD", None)
            seqs.append(await written_since())
            done.set()
        return seqs

    seqs = await while_projecting(ledger, work, 100)
    events = await all_events(ruler)
    assert [{event["event_type"] for event in events[seq : seq + written]} for seq in seqs] == [
        {"FEE", "X"},
        {"FEE"},
        {"X"},
        {"FEE", "X"},
    ]
    assert (await client.verify(ruler)).ok


async def test_an_expired_key_sent_by_many_at_once_creates_once_more(
    connections: list[Connection],
) -> None:
    request = append_request(new_event())
    await append(connections[0], [request])
    await connections[0].execute("UPDATE idempotency_keys SET expires_at = now()")
    answers = await send_at_once(connections, request)
    assert outcomes(answers) == {Outcome.CREATED: 1, Outcome.REPLAYED: WRITERS - 1}
    assert (await client.head(connections[0])).seq == 2


async def test_many_projectors_at_once_apply_every_event_once(
    connections: list[Connection],
) -> None:
    await append(connections[0], [append_request(*(new_event() for _ in range(500)))])

    async def project(connection: Connection) -> int:
        applied = 0
        for _ in range(10):
            done = await client.project(connection, 7)
            applied += done.last_seq - done.from_seq + 1
        return applied

    assert sum(await asyncio.gather(*map(project, connections))) == 500
    (total,) = await client.balances(connections[0], ["cus_1"])
    assert (total["current_balance_minor"], total["event_count"]) == (50_000, 500)


async def test_a_writer_that_dies_before_its_commit_leaves_no_gap(
    connections: list[Connection],
) -> None:
    dying, waiting, watching = connections[:3]
    await append(watching, [append_request(new_event())])
    request = append_request(new_event(), new_event())

    transaction = dying.transaction()
    await transaction.start()
    (lost,) = await append(dying, [request])
    assert [row["seq"] for row in lost.events] == [2, 3]
    # The next writer waits for the lock; no reader sees what is not committed.
    next_in_line = asyncio.create_task(append(waiting, [append_request(new_event())]))
    await asyncio.sleep(0.05)
    assert not next_in_line.done()
    assert (await client.head(watching)).seq == 1
    assert await client.event(watching, lost.events[0]["event_id"]) is None
    dying.terminate()

    (answer,) = await next_in_line
    assert [row["seq"] for row in answer.events] == [2]
    # What was lost was never acknowledged, and can be sent again.
    (again,) = await append(watching, [request])
    assert again.outcome is Outcome.CREATED
    assert [row["seq"] for row in again.events] == [3, 4]
    assert (await client.verify(watching)).ok
