"""What the books said at a point in time. The model's test asks for any; these are the edges."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from freehold.ledger import client
from freehold.ledger.append import Row
from freehold.ledger.client import Connection, Record
from freehold.ledger.points_in_time import NOW, Moment, balances_at, list_balances_at, totals
from support.builders import (
    append,
    append_request,
    make_blocks_small,
    new_event,
    new_hold,
    stop_clock,
)
from support.model import replay_until

MICROSECOND = timedelta(microseconds=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEFORE_ALL = Moment(as_of=datetime(1, 1, 1, tzinfo=UTC))
SLOW = """
    ALTER FUNCTION currencies_of RENAME TO quick_currencies_of;
    CREATE FUNCTION currencies_of(account_ids text[])
    RETURNS TABLE (account_id text, currency char(3)) LANGUAGE sql
    AS 'SELECT c.* FROM pg_sleep(1.1), quick_currencies_of(account_ids) AS c';
"""


async def amount(connection: Connection, moment: Moment, account_id: str = "cus_1") -> int:
    (row,) = await balances_at(connection, [account_id], moment)
    return int(row["current_balance_minor"])


async def listed(
    connection: Connection,
    moment: Moment,
    *,
    after: tuple[str, str] | None = None,
    rows_max: int = 1000,
    **filters: Any,
) -> tuple[list[tuple[str, str]], tuple[str, str] | None]:
    """The accounts and currencies that a list has, and where it stopped."""
    rows, stopped_at = await list_balances_at(
        connection, moment, client.BalanceFilters(**filters), after=after, rows_max=rows_max
    )
    accounts = [(row["account_id"], row["currency"]) for row in rows]
    if stopped_at is None:
        return accounts, None
    return accounts, (stopped_at["account_id"], stopped_at["currency"])


async def names(connection: Connection, moment: Moment, account_prefix: str) -> list[str]:
    accounts, _ = await listed(connection, moment, account_prefix=account_prefix)
    return [account_id for account_id, _ in accounts]


@pytest.fixture(params=[False, True], ids=["raw", "in blocks"])
async def in_blocks(connection: Connection, request: pytest.FixtureRequest) -> Connection:
    """A ledger that reads events one by one, or all from blocks."""
    if request.param:
        await make_blocks_small(connection)
    return connection


async def add(connection: Connection, times: Sequence[datetime]) -> Sequence[Row]:
    """Append events of 1, 10, 100, … at some times, in one request, and project them."""
    events = [
        new_event("cus_1", 10**place, transaction_time=time) for place, time in enumerate(times)
    ]
    (answer,) = await append(connection, [append_request(*events)])
    await client.project(connection, 100)
    return answer.events


async def test_as_of_includes_its_own_microsecond(in_blocks: Connection) -> None:
    await add(
        in_blocks,
        [NOON + MICROSECOND, NOON, NOON - MICROSECOND, NOON, *[NOON + 2 * MICROSECOND] * 4],
    )
    expected = {-2: 0, -1: 100, 0: 1110, 1: 1111, 2: 11111111, 3: 11111111}
    assert {
        place: await amount(in_blocks, Moment(as_of=NOON + place * MICROSECOND))
        for place in expected
    } == expected


async def test_known_at_includes_its_own_microsecond(in_blocks: Connection) -> None:
    # A clock that stands still: each request is recorded one microsecond after the one before.
    await stop_clock(in_blocks, NOON)
    for _ in range(3):
        await add(in_blocks, [NOON] * 3)
    # It was set back, and the ledger goes on in the smallest steps.
    await stop_clock(in_blocks, NOON - timedelta(hours=1))
    await add(in_blocks, [NOON] * 3)
    expected = {-1: 0, 0: 111, 1: 222, 2: 333, 3: 444, 4: 444}
    assert {
        place: await amount(in_blocks, Moment(known_at=NOON + place * MICROSECOND))
        for place in expected
    } == expected


async def test_both_times_together_say_what_the_books_said_then(in_blocks: Connection) -> None:
    await stop_clock(in_blocks, NOON)
    day = timedelta(days=1)
    await add(in_blocks, [NOON - 2 * day, NOON - day, NOON, NOON])
    await stop_clock(in_blocks, NOON + day)
    await add(in_blocks, [NOON - 2 * day, NOON, NOON + day, NOON + day])
    assert await amount(in_blocks, Moment(NOON - day, NOON)) == 11
    assert await amount(in_blocks, Moment(NOON - day, NOON + day)) == 12
    assert await amount(in_blocks, Moment(NOON + day, NOON)) == 1111
    assert await amount(in_blocks, Moment(NOON, NOON + day)) == 1122


async def test_a_page_reads_the_events_of_its_accounts_only(connection: Connection) -> None:
    events = [new_event(f"cus_{number}") for number in range(5000)]
    await append(connection, [append_request(*events)])
    await client.project(connection, len(events))
    await connection.execute("ANALYZE ledger_events")
    read = (
        "SELECT sum(seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_xact_user_tables"
        " WHERE relname LIKE 'ledger\\_events\\_%'"
    )
    async with connection.transaction():
        # The planner decides as it does for millions of events.
        await connection.execute("SET LOCAL cpu_index_tuple_cost = 1")
        before = await connection.fetchval(read)
        page, _ = await listed(connection, Moment(as_of=datetime.now(UTC)), rows_max=10)
        assert len(page) == 10
        # It looks at 100 accounts at a time.
        assert await connection.fetchval(read) - before < 1000


@pytest.mark.parametrize(
    "moment",
    [
        BEFORE_ALL,
        Moment(known_at=BEFORE_ALL.as_of),
        Moment(known_at=datetime(1969, 12, 31, 23, tzinfo=UTC)),
        Moment(BEFORE_ALL.as_of, datetime(9998, 12, 31, tzinfo=UTC)),
    ],
)
async def test_before_its_first_event_an_account_has_nothing(
    in_blocks: Connection, moment: Moment
) -> None:
    await add(in_blocks, [NOON] * 5)
    await append(in_blocks, [append_request(new_event("cus_1", 1, currency="JPY"))])
    rows = await balances_at(in_blocks, ["cus_1", "unknown"], moment)
    assert [tuple(row) for row in rows] == [
        ("cus_1", currency, 0, 0, None, 0, None) for currency in ("JPY", "USD")
    ]
    assert await listed(in_blocks, moment) == ([("cus_1", "JPY"), ("cus_1", "USD")], None)
    assert [tuple(row) for row in await totals_of(in_blocks, moment)] == [
        ("JPY", 0, 0, 0),
        ("USD", 0, 0, 0),
    ]


async def totals_of(
    connection: Connection, moment: Moment, account_prefix: str = "", currency: str | None = None
) -> list[Record]:
    return await totals(connection, moment, account_prefix=account_prefix, currency=currency)


async def test_at_a_time_what_is_not_projected_counts(connection: Connection) -> None:
    await add(connection, [NOON])
    await append(connection, [append_request(new_event("cus_1", 5), new_event("new", 7))])
    late = Moment(as_of=datetime(2999, 1, 1, tzinfo=UTC))
    assert await amount(connection, late) == 6
    assert await names(connection, late, "") == ["cus_1", "new"]
    assert [tuple(row) for row in await totals_of(connection, late)] == [("USD", 13, 2, 3)]
    assert [tuple(row) for row in await totals_of(connection, NOW)] == [("USD", 1, 1, 1)]


async def test_what_is_held_moves_no_past_balance(connection: Connection) -> None:
    await append(connection, [append_request(new_event("cus_1", 50), new_hold("cus_1", 30))])
    (row,) = await balances_at(connection, ["cus_1"], Moment(known_at=datetime.now(UTC)))
    assert (row["current_balance_minor"], row["event_count"], row["last_seq"]) == (50, 2, 2)


@pytest.mark.parametrize("projected", [True, False])
async def test_a_prefix_means_itself(connection: Connection, projected: bool) -> None:
    accounts = ["a%b", "a_b", "a\\b", "a'b", 'a"b', "aab", "A_b", "ä", "a"]
    events = [
        # Not names that the contract lets in, but SQL has its own view of them.
        new_event(amount_minor=10**place).model_copy(update={"account_id": account})
        for place, account in enumerate(accounts)
    ]
    await append(connection, [append_request(*events)])
    if projected:
        await client.project(connection, 100)
    now = Moment(known_at=datetime.now(UTC))
    for account in accounts[:-1]:
        assert await names(connection, now, account) == [account]
        (row,) = await totals_of(connection, now, account)
        assert row["balance_minor"] == 10 ** accounts.index(account)
    assert await names(connection, now, "") == sorted(accounts)
    assert await names(connection, now, "a") == sorted([*accounts[:6], "a"])
    for prefix in ("%", "_", "a%%", "\\"):
        assert await names(connection, now, prefix) == []
        assert await totals_of(connection, now, prefix) == []


@pytest.mark.parametrize("moment", [NOW, Moment(known_at=datetime(2999, 1, 1, tzinfo=UTC))])
async def test_totals_sum_a_branch_by_currency(connection: Connection, moment: Moment) -> None:
    amounts = {"assets:bank:1": 5, "assets:bank:2": -7, "assets:cash": 11, "assets_": 13}
    events = [
        new_event(account, amount, currency=currency)
        for account, amount in amounts.items()
        for currency in ("USD", "JPY")
    ]
    await append(connection, [append_request(*events, new_event("assets:cash", 2))])
    await client.project(connection, 100)
    for prefix, expected in {
        "assets:bank:": [("JPY", -2, 2, 2), ("USD", -2, 2, 2)],
        "assets:": [("JPY", 9, 3, 3), ("USD", 11, 3, 4)],
        "": [("JPY", 22, 4, 4), ("USD", 24, 4, 5)],
        "nobody": [],
    }.items():
        assert [tuple(row) for row in await totals_of(connection, moment, prefix)] == expected
        assert [tuple(row) for row in await totals_of(connection, moment, prefix, "JPY")] == (
            expected[:1]
        )


async def test_lists_are_filtered_by_the_balance_of_then(connection: Connection) -> None:
    for account in ("a", "b", "c"):
        await append(
            connection,
            [
                append_request(
                    new_event(account, 10, transaction_time=NOON - timedelta(days=1)),
                    new_event(account, 10 if account == "b" else 20, transaction_time=NOON),
                    new_event(account, 1000),
                )
            ],
        )
    await client.project(connection, 100)
    noon = Moment(as_of=NOON)
    a, b, c = ("a", "USD"), ("b", "USD"), ("c", "USD")
    assert await listed(connection, noon, least=20, most=29) == ([b], None)
    assert await listed(connection, noon, least=31) == ([], None)
    assert await listed(connection, noon, currency="JPY") == ([], None)
    assert await listed(connection, noon, rows_max=2) == ([a, b], None)
    assert await listed(connection, noon, after=a) == ([b, c], None)


async def test_pages_are_cut_between_an_accounts_currencies(connection: Connection) -> None:
    currencies = ["EUR", "JPY", "USD"]
    events = [
        new_event(f"cus_{place:03}", 1, currency=currency)
        for place in range(150)
        for currency in currencies
    ]
    await append(connection, [append_request(*events)])
    await client.project(connection, 300)
    now = Moment(known_at=datetime.now(UTC))
    everything, _ = await listed(connection, now)
    assert everything == [(event.account_id, event.currency) for event in events]
    for place in (0, 1, 2, 298, 299, 300, 301, 448, 449):
        assert await listed(connection, now, after=everything[place], rows_max=4) == (
            everything[place + 1 : place + 5],
            None,
        )


async def test_a_list_that_takes_long_stops_early_and_says_where(connection: Connection) -> None:
    events = [new_event(f"cus_{place:03}", place + 1) for place in range(250)]
    await append(connection, [append_request(*events)])
    await client.project(connection, 1000)
    await connection.execute(SLOW)
    now = Moment(known_at=datetime.now(UTC))
    hundredth = ("cus_099", "USD")
    assert await listed(connection, now, least=100) == ([hundredth], hundredth)
    assert await listed(connection, now, least=202, after=hundredth) == ([], ("cus_198", "USD"))
    assert await listed(connection, now, least=250, after=("cus_198", "USD")) == (
        [("cus_249", "USD")],
        None,
    )


async def test_blocks_of_the_usual_size_say_what_the_events_say(connection: Connection) -> None:
    random = Random(7)
    events: list[dict[str, Any]] = []
    for _ in range(3):
        additions = [
            new_event(
                random.choice(["cus_1"] * 9 + ["cus_2"]),
                random.choice([-1, 1]) * random.randrange(1, 2**62),
                currency=random.choice(["USD"] * 9 + ["JPY"]),
                transaction_time=NOON - timedelta(seconds=random.randrange(5000)),
            )
            for _ in range(3500)
        ]
        (answer,) = await append(connection, [append_request(*additions)])
        events += map(dict, answer.events)
        await client.project(connection, 4000)
    assert await connection.fetchval("SELECT count(DISTINCT block_seq) FROM account_blocks") == 2
    for _ in range(20):
        moment = Moment(
            NOON - timedelta(seconds=random.randrange(5000)),
            random.choice([None, *(event["recorded_at"] for event in events[:: len(events) // 9])]),
        )
        rows = await balances_at(connection, ["cus_1", "cus_2"], moment)
        assert {
            (row["account_id"], row["currency"]): tuple(row)[2:] for row in rows
        } == replay_until(moment, events)
