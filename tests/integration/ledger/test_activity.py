"""Activity: sums between any boundaries, equal to those of the events themselves."""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.ledger import client
from freehold.ledger.activity import ActivityFilters, activity, activity_span
from freehold.ledger.client import Connection, Record
from support.builders import append, append_request, new_event, new_hold, undo
from support.ledgers import Ledgers

START = datetime(2026, 3, 1, tzinfo=UTC)
LARGEST = 2**63 - 1
DAMAGE = {
    "another sum": "UPDATE activity_rollups SET amount_in_minor = 1",
    "another count": "UPDATE activity_rollups SET event_count = 9",
    "a lost row": "DELETE FROM activity_rollups",
    "an invented row": "INSERT INTO activity_rollups VALUES ('2026-01-01Z', 'XTS', 'X', 1, 1, 1)",
}

Sums = dict[tuple[int, str, str], tuple[int, int, int]]


class Active:
    """A ledger with two hours of events, and all that is in it."""

    def __init__(self, connection: Connection, rows: Sequence[Record]) -> None:
        self.connection = connection
        self.rows = rows


@pytest.fixture(scope="module")
async def active(ledgers: Ledgers) -> AsyncIterator[Active]:
    random = Random(8)
    async with ledgers.fresh() as ledger, ledger.connection() as connection:
        for batch in range(6):
            events = [
                new_event(
                    random.choice(["a", "ab", "b"]),
                    random.choice([5, -3, LARGEST, -LARGEST]),
                    currency=random.choice(["USD", "JPY"]),
                    event_type=random.choice(["CHARGE", "FEE"]),
                    transaction_time=START + timedelta(seconds=random.randrange(7200)),
                )
                for _ in range(30)
            ]
            at = START + timedelta(hours=2)
            (answer,) = await append(connection, [append_request(*events)])
            await append(
                connection,
                [
                    append_request(undo(answer.events[0]["event_id"], at=at)),
                    append_request(new_hold()),
                ],
            )
            if batch < 5:
                await client.project(connection, 17)
                await client.project(connection, 1000)
        yield Active(connection, await connection.fetch("SELECT * FROM event_lines"))


def sums(rows: Iterable[Record], boundaries: Sequence[datetime], filters: ActivityFilters) -> Sums:
    """Add up in plain Python."""
    found: Sums = defaultdict(lambda: (0, 0, 0))
    for row in rows:
        if (
            filters.account_id in {None, row["account_id"]}
            and row["account_id"].startswith(filters.account_prefix or "")
            and filters.currency in {None, row["currency"]}
            and filters.event_type in {None, row["event_type"]}
        ):
            for number, (starts, ends) in enumerate(pairwise(boundaries), start=1):
                if starts <= row["transaction_time"] < ends:
                    key = (number, row["currency"], row["event_type"])
                    count, into, out = found[key]
                    amount = row["amount_minor"]
                    found[key] = (count + 1, into + max(amount, 0), out + max(-amount, 0))
    return found


async def asked(
    connection: Connection, boundaries: Sequence[datetime], filters: ActivityFilters
) -> Sums:
    rows = await activity(connection, boundaries, filters)
    keys = [(row["bucket"], row["currency"], row["event_type"]) for row in rows]
    assert keys == sorted(set(keys))
    return {
        key: (row["event_count"], row["amount_in_minor"], row["amount_out_minor"])
        for key, row in zip(keys, rows, strict=True)
    }


seconds = st.integers(-10, 730).map(lambda tens: 10 * tens)
quarters = st.integers(-1, 9).map(lambda quarter: 900 * quarter)


@given(
    st.lists(quarters, min_size=2, unique=True)
    | st.lists(seconds, min_size=2, max_size=5, unique=True)
    | st.tuples(seconds, st.lists(quarters), seconds).map(lambda t: [t[0], *t[1], t[2]]),
    st.builds(
        ActivityFilters,
        account_id=st.none() | st.none() | st.sampled_from(["a", "ab", "unknown"]),
        account_prefix=st.none() | st.none() | st.sampled_from(["a", "", "c"]),
        currency=st.none() | st.sampled_from(["USD", "JPY"]),
        event_type=st.none() | st.sampled_from(["CHARGE", "REVERSAL", "HOLD", "NONE"]),
    ),
)
async def test_sums_between_any_boundaries_are_those_of_the_events(
    active: Active, offsets: list[int], filters: ActivityFilters
) -> None:
    boundaries = [START + timedelta(seconds=offset) for offset in sorted(set(offsets))]
    if len(boundaries) > 1:
        assert await asked(active.connection, boundaries, filters) == sums(
            active.rows, boundaries, filters
        )


@given(
    st.lists(seconds, min_size=2, max_size=2, unique=True), st.sampled_from([None, "a", "unknown"])
)
async def test_the_span_holds_all_activity(
    active: Active, offsets: list[int], account_id: str | None
) -> None:
    from_time, to_time = (START + timedelta(seconds=each) for each in sorted(offsets))
    inside = [
        row["transaction_time"]
        for row in active.rows
        if from_time <= row["transaction_time"] < to_time
        and account_id in {None, row["account_id"]}
    ]
    span = await activity_span(
        active.connection, from_time, to_time, ActivityFilters(account_id=account_id)
    )
    if span is None:
        assert inside == []
    else:
        assert from_time <= span[0] <= min(inside, default=to_time)
        assert max(inside, default=from_time) <= span[1] < to_time


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
async def test_what_differs_is_found_and_rebuilt(connection: Connection, damage: str) -> None:
    await append(connection, [append_request(new_event("a", 5), new_event("b", -3))])
    await client.project(connection, 100)
    assert await client.reconcile_activity(connection) == []
    before = await connection.fetch("SELECT * FROM activity_rollups ORDER BY 1, 2, 3")
    await connection.execute(damage)
    assert len(await client.reconcile_activity(connection)) == 1
    await client.rebuild(connection)
    assert await client.reconcile_activity(connection) == []
    assert await connection.fetch("SELECT * FROM activity_rollups ORDER BY 1, 2, 3") == before


async def test_what_is_projected_twice_is_summed_up_once(connection: Connection) -> None:
    await append(connection, [append_request(new_event("a", 5), new_event("b", -3))])
    await client.project(connection, 100)
    await connection.execute(
        "UPDATE projection_checkpoint"
        " SET last_seq = 0, last_ledger_event_id = '00000000-0000-0000-0000-000000000000'"
    )
    await client.project(connection, 100)
    assert await client.reconcile_activity(connection) == []
