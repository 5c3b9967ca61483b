"""Events by filters: every combination, in both orders, page by page, against a model."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.contracts.events import NewEvent
from freehold.ledger import client, rules, search
from freehold.ledger.append import Capture
from freehold.ledger.client import Connection, Record
from freehold.ledger.search import EventFilters
from support.builders import append, append_request, new_event, new_hold, undo
from support.ledgers import Ledgers

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACCOUNTS = ["a", "a_b", "a%b", "ab", "b"]
TYPES = ["CHARGE", "REFUND", "RARE"]
CURRENCIES = ["USD", "EUR", "JPY"]
# Declared and indexed, declared after the last projection, and not declared.
KEYS = ["order_id", "plan", "colour"]
VALUES = ["", "1", "'\\\"%", "é😀"]


class Searched:
    """A ledger, and all that is in it."""

    def __init__(self, connection: Connection, rows: Sequence[Record]) -> None:
        self.connection = connection
        self.rows = rows


def random_event(random: Random, number: int) -> NewEvent:
    event = new_event(
        "a",
        random.choice([5, -3]),
        currency=random.choices(CURRENCIES, [9, 3, 1])[0],
        event_type=random.choices(TYPES, [9, 3, 1])[0],
        # A third is backdated, some to the very same instant.
        transaction_time=START
        + timedelta(minutes=random.choice([number, number, random.randrange(60)])),
        external_id=f"x{number}" if random.random() < 0.5 else None,
        metadata={key: random.choice(VALUES) for key in KEYS if random.random() < 0.5},
    )
    # Not all names that the contract lets in, but SQL has its own view of "%", as it has of "_".
    return event.model_copy(update={"account_id": random.choice(ACCOUNTS)})


@pytest.fixture(scope="module")
async def searched(ledgers: Ledgers) -> AsyncIterator[Searched]:
    random = Random(6)
    async with ledgers.fresh() as ledger, ledger.connection() as connection:
        await rules.declare_searchable_metadata(connection, ["order_id"])
        for batch in range(8):
            events = [random_event(random, 20 * batch + number) for number in range(20)]
            (answer,) = await append(connection, [append_request(*events)])
            legs = [new_event("b", 7), new_event("ab", -7)]
            (_, held, *_) = await append(
                connection,
                [
                    append_request(*legs, transaction=True),
                    append_request(new_hold("a_b", 9)),
                    append_request(undo(answer.events[3]["event_id"])),
                ],
            )
            await append(connection, [append_request(Capture(held.events[0]["hold_id"], 4))])
            if batch in {2, 5}:
                # More than a search looks at in one step.
                await append(connection, [append_request(*[new_event("filler")] * 4500)])
            # The last batch is not projected, and the last but one is not indexed by "plan".
            if batch < 7:
                await client.project(connection, 10_000)
            if batch == 5:
                await rules.declare_searchable_metadata(connection, ["order_id", "plan"])
        rows = await connection.fetch("SELECT * FROM event_lines ORDER BY seq")
        yield Searched(connection, rows)


def meets(row: Record, filters: EventFilters) -> bool:
    """Say in plain Python whether an event has what is asked for."""
    time = row["transaction_time"]
    same = ("account_id", "external_id", "transaction_id", "event_type", "currency")
    return (
        all(getattr(filters, name) in {None, row[name]} for name in same)
        and row["account_id"].startswith(filters.account_prefix or "")
        and (filters.from_time is None or time >= filters.from_time)
        and (filters.to_time is None or time < filters.to_time)
        and all(
            metadata_of(row).get(key) == value for key, value in (filters.metadata or {}).items()
        )
    )


def metadata_of(row: Record) -> dict[str, str]:
    found: dict[str, str] = orjson.loads(row["metadata_json"])
    return found


async def pages(
    connection: Connection, filters: EventFilters, *, rows_max: int, **choices: Any
) -> list[int]:
    """List a search's seqs, page by page."""
    seqs: list[int] = []
    after: UUID | None = None
    while True:
        page = await search.events(connection, filters, after=after, rows_max=rows_max, **choices)
        found = [row["seq"] for row in page if row["seq"] is not None]
        seqs += found
        if len(page) < rows_max and len(found) == len(page):
            return seqs
        after = page[-1]["event_id"]


times = st.integers(-1, 161).map(lambda minutes: START + timedelta(minutes=minutes))
filters = st.builds(
    EventFilters,
    account_id=st.none() | st.sampled_from([*ACCOUNTS, "unknown", "filler"]),
    account_prefix=st.none() | st.sampled_from(["", "a", "a_", "a%", "b", "c", "f"]),
    external_id=st.none() | st.none() | st.sampled_from(["x1", "x2", "x3", "unknown"]),
    event_type=st.none() | st.sampled_from([*TYPES, "REVERSAL", "HOLD", "NONE"]),
    currency=st.none() | st.sampled_from(CURRENCIES),
    from_time=st.none() | times,
    to_time=st.none() | times,
    metadata=st.none()
    | st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), min_size=1),
)


@given(filters=filters, descending=st.booleans(), rows_max=st.sampled_from([100, 10_000]))
async def test_a_search_finds_what_meets_all_conditions_and_nothing_else(
    searched: Searched, filters: EventFilters, descending: bool, rows_max: int
) -> None:
    expected = [row["seq"] for row in searched.rows if meets(row, filters)]
    found = await pages(
        searched.connection, filters, rows_max=rows_max, descending=descending, patience_s=60
    )
    assert found == (expected[::-1] if descending else expected)


@given(filters=filters, descending=st.booleans())
async def test_a_search_that_ends_early_goes_on_where_it_ended(
    searched: Searched, filters: EventFilters, descending: bool
) -> None:
    expected = [row["seq"] for row in searched.rows if meets(row, filters)]
    found = await pages(
        searched.connection, filters, rows_max=1000, descending=descending, patience_s=0
    )
    assert found == (expected[::-1] if descending else expected)


async def test_a_transaction_is_found_by_its_id(searched: Searched) -> None:
    legs = [row for row in searched.rows if row["transaction_id"] is not None]
    wanted = legs[2]["transaction_id"]
    for descending in (False, True):
        found = await pages(
            searched.connection,
            EventFilters(transaction_id=wanted),
            rows_max=1,
            descending=descending,
        )
        assert sorted(found) == [row["seq"] for row in legs[2:4]]


async def test_a_rare_event_in_a_large_ledger_is_found_in_bounded_steps(
    own_connection: Connection,
) -> None:
    events = [new_event(event_type="RARE" if place == 9000 else "FEE") for place in range(10_000)]
    await append(own_connection, [append_request(*events)])
    rare = EventFilters(event_type="RARE")
    (reached,) = await search.events(own_connection, rare, rows_max=2, patience_s=0)
    assert set(dict(reached).items()) - {("event_id", reached["event_id"])} == {
        (name, None) for name in dict(reached) if name != "event_id"
    }
    assert (
        await own_connection.fetchval(
            "SELECT seq FROM ledger_events WHERE event_id = $1", reached["event_id"]
        )
        == 4096
    )
    for descending in (False, True):
        assert await pages(
            own_connection, rare, rows_max=2, descending=descending, patience_s=0
        ) == [9001]


async def test_pages_stay_as_they_are_while_events_arrive(own_connection: Connection) -> None:
    await append(own_connection, [append_request(*[new_event()] * 6)])
    page = await search.events(own_connection, descending=True, rows_max=3)
    await append(own_connection, [append_request(*[new_event()] * 6)])
    rest = await search.events(
        own_connection, descending=True, after=page[-1]["event_id"], rows_max=3
    )
    assert [row["seq"] for row in (*page, *rest)] == [6, 5, 4, 3, 2, 1]
