"""The curve of a balance: at each of its times it says what the books say of that time alone."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from freehold.ledger import client
from freehold.ledger.client import Connection
from freehold.ledger.points_in_time import Moment, account_span, balances_at, balances_over_time
from support.builders import append, append_request, make_blocks_small, new_event

MICROSECOND = timedelta(microseconds=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


async def grow(connection: Connection, random: Random, events: int, spread: int) -> list[datetime]:
    """Append events of two accounts in two currencies; give when each request was recorded."""
    recorded = []
    for _ in range(4):
        additions = [
            new_event(
                random.choice(["cus_1"] * 4 + ["cus_2"]),
                random.choice([-1, 1]) * random.randrange(1, 2**62),
                currency=random.choice(["USD"] * 4 + ["JPY"]),
                transaction_time=NOON + random.randrange(spread) * MICROSECOND,
            )
            for _ in range(events)
        ]
        (answer,) = await append(connection, [append_request(*additions)])
        recorded.append(answer.events[-1]["recorded_at"])
        if len(recorded) < 4:
            await client.project(connection, 10_000)
    return recorded


async def one_by_one(
    connection: Connection, currency: str, times: list[datetime], known_at: datetime | None
) -> list[int]:
    """The balances at some times, each asked for alone."""
    return [
        int(row["current_balance_minor"])
        for at in times
        for row in await balances_at(connection, ["cus_1"], Moment(at, known_at))
        if row["currency"] == currency
    ]


@pytest.mark.parametrize(
    ("small", "events", "spread"),
    [(False, 20, 60), (True, 40, 60), (True, 40, 4), (False, 1800, 5000)],
    ids=["raw", "in small blocks", "many at the same time", "in blocks"],
)
async def test_a_curve_says_what_each_of_its_times_says(
    connection: Connection, small: bool, events: int, spread: int
) -> None:
    if small:
        await make_blocks_small(connection)
    random = Random(3)
    recorded = await grow(connection, random, events, spread)
    steps = sorted({random.randrange(-2, spread + 2) for _ in range(12)} | {spread})
    times = [NOON + step * MICROSECOND for step in steps]
    for currency in ("USD", "JPY"):
        for known_at in (None, *recorded, recorded[0] - timedelta(days=1)):
            curve = await balances_over_time(
                connection, "cus_1", currency, times, known_at=known_at
            )
            assert curve == await one_by_one(connection, currency, times, known_at)


@pytest.mark.parametrize("small", [False, True], ids=["raw", "in blocks"])
async def test_the_span_of_an_account_is_that_of_its_events(
    connection: Connection, small: bool
) -> None:
    if small:
        await make_blocks_small(connection)
    assert await account_span(connection, "cus_1") is None
    hours = [5, 3, 8, 1, 9, 4, 2, 7]
    events = [new_event("cus_1", transaction_time=NOON + timedelta(hours=hour)) for hour in hours]
    await append(connection, [append_request(*events[:6])])
    await client.project(connection, 100)
    assert await account_span(connection, "cus_1") == (
        NOON + timedelta(hours=1),
        NOON + timedelta(hours=9),
    )
    late = new_event("cus_1", transaction_time=NOON + timedelta(hours=11))
    await append(connection, [append_request(late)])
    assert await account_span(connection, "cus_1") == (
        NOON + timedelta(hours=1),
        NOON + timedelta(hours=11),
    )


async def test_an_unknown_account_has_a_curve_of_zeros(connection: Connection) -> None:
    assert await balances_over_time(connection, "nobody", "USD", [NOON, NOON]) == [0, 0]
