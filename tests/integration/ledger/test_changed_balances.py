"""What live streams read of a ledger: whoever follows the changes has the state."""

from collections.abc import Iterable
from uuid import UUID

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.ledger import client
from freehold.ledger.append import Capture
from freehold.ledger.client import Connection, Record
from freehold.ledger.documents import balance_document
from support.builders import append, append_request, new_event, new_hold, undo
from support.ledgers import Ledger, rolled_back

START = UUID(int=0)
State = dict[tuple[str, str], bytes]

changes = st.tuples(
    st.sampled_from(["a", "b", "c"]), st.sampled_from(["USD", "JPY"]), st.integers(1, 99)
)
steps = st.lists(
    st.one_of(st.lists(changes, min_size=1, max_size=6), st.integers(1, 5).map(lambda most: -most)),
    max_size=8,
)


def documents(rows: Iterable[Record]) -> State:
    return {
        (row["account_id"], row["currency"]): orjson.dumps(balance_document(row)) for row in rows
    }


async def state(connection: Connection) -> State:
    return documents(await client.list_balances(connection, rows_max=100))


async def follow(
    connection: Connection, after: UUID, events_max: int, seen: State
) -> tuple[UUID, list[Record]]:
    """Read on until nothing is left; keep what is told in `seen`."""
    told: list[Record] = []
    while True:
        found = await client.changed_balances(
            connection, epoch=1, after=after, events_max=events_max
        )
        told += found.balances
        seen.update(documents(found.balances))
        # A client that is cut off after any of them goes on from its last event.
        assert all(after < row["last_ledger_event_id"] <= found.through for row in found.balances)
        after = found.through
        if found.events_left == 0:
            return after, told


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, events_max=st.integers(1, 7))
async def test_who_follows_the_changes_has_the_state(
    empty_ledger: Ledger, steps: list[list[tuple[str, str, int]] | int], events_max: int
) -> None:
    async with empty_ledger.connection() as connection, rolled_back(connection):
        seen: State = {}
        after = START
        for step in steps:
            if isinstance(step, int):
                await client.project(connection, -step)
                after, _ = await follow(connection, after, events_max, seen)
                assert seen == await state(connection)
            else:
                events = [new_event(name, amount, currency=code) for name, code, amount in step]
                await append(connection, [append_request(*events)])


async def test_each_balance_is_told_once_in_order_of_its_last_event(connection: Connection) -> None:
    await append(connection, [append_request(*[new_event(name) for name in "abacab"])])
    await client.project(connection, 5)
    _, told = await follow(connection, START, 100, {})
    assert [(row["account_id"], row["last_seq"]) for row in told] == [("b", 2), ("c", 4), ("a", 5)]


async def test_what_is_not_projected_is_not_told(connection: Connection) -> None:
    await append(connection, [append_request(new_event("a"), new_event("b"))])
    await client.project(connection, 1)
    found = await client.changed_balances(connection, epoch=1, after=START, events_max=10)
    assert [row["account_id"] for row in found.balances] == ["a"]
    assert found.events_left == 0
    await client.project(connection, 1)
    again = await client.changed_balances(connection, epoch=1, after=found.through, events_max=10)
    assert [row["account_id"] for row in again.balances] == ["b"]


async def test_holds_and_reversals_are_changes(connection: Connection) -> None:
    (posted,) = await append(connection, [append_request(new_event("a", 500))])
    (held,) = await append(connection, [append_request(new_hold("b", 70))])
    await client.project(connection, 100)
    after, _ = await follow(connection, START, 100, {})
    await append(connection, [append_request(undo(posted.events[0]["event_id"]))])
    await append(connection, [append_request(Capture(held.events[0]["event_id"], 30))])
    await client.project(connection, 100)
    _, told = await follow(connection, after, 100, {})
    assert [
        (row["account_id"], row["current_balance_minor"], row["held_minor"]) for row in told
    ] == [("a", 0, 0), ("b", -30, 0)]


async def test_the_events_that_are_left_are_counted(connection: Connection) -> None:
    await append(connection, [append_request(*[new_event(name) for name in "abcde"])])
    await client.project(connection, 4)
    found = await client.changed_balances(connection, epoch=1, after=START, events_max=3)
    assert found.events_left == 1


@pytest.mark.parametrize(("epoch", "after"), [(1, None), (2, START)])
async def test_without_a_position_of_this_epoch_it_says_where_the_projection_stands(
    connection: Connection, epoch: int, after: UUID | None
) -> None:
    (answer,) = await append(connection, [append_request(new_event("a"), new_event("b"))])
    await client.project(connection, 100)
    found = await client.changed_balances(connection, epoch=epoch, after=after, events_max=10)
    assert found.balances == []
    assert (found.epoch, found.events_left) == (1, 0)
    assert found.through == answer.events[-1]["event_id"]
