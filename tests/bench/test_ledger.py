"""How much of Postgres's own speed the ledger keeps: ratios taken within one run."""

import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import count
from statistics import median

from rich.console import Console
from rich.table import Table

from freehold.contracts.events import NewEvent
from freehold.ledger.append import AppendRequest, Outcome
from freehold.ledger.client import Connection, project, verify
from support.builders import append, append_request, new_event
from support.ledgers import Ledger

_numbers = count()
ACCOUNTS = 5_000
ROUNDS = 5


def _requests(requests: int, events_each: int) -> list[AppendRequest]:
    return [append_request(*_events(events_each)) for _ in range(requests)]


def _transactions(requests: int, legs_each: int) -> list[AppendRequest]:
    return [append_request(*_events(legs_each), transaction=True) for _ in range(requests)]


def _events(number: int) -> list[NewEvent]:
    return [
        new_event(
            f"cus_{(place := next(_numbers)) % ACCOUNTS}",
            100 if place % 2 else -100,
            external_id=f"x{place}",
        )
        for _ in range(number)
    ]


Make = Callable[[int, int], list[AppendRequest]]
Shape = tuple[str, Make, int, int, int]
"""What is appended, requests a call, events each, and calls a round."""

PLAIN: list[Shape] = [
    ("events", _requests, 1, 1, 100),
    ("events", _requests, 64, 1, 10),
    ("events", _requests, 256, 1, 4),
    ("events", _requests, 1, 1000, 2),
    ("events", _requests, 1, 10_000, 1),
    ("legs", _transactions, 1, 2, 100),
    ("legs", _transactions, 64, 2, 10),
]
LIMITED: list[Shape] = [
    ("limited events", _requests, 1, 1, 100),
    ("limited events", _requests, 64, 1, 10),
    ("limited legs", _transactions, 64, 2, 10),
]
LIMIT_ALL = f"""
    INSERT INTO account_limits
    SELECT 'cus_' || n, 'USD', -1000000000 FROM generate_series(0, {ACCOUNTS} - 1) AS n;
    UPDATE ledger_settings SET with_account_limits = true;
"""


async def _events_per_s(work: Callable[[], Awaitable[int]], calls: int) -> float:
    """The median, over some rounds, of how many events a second the work does."""
    rates = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        events = 0
        for _ in range(calls):
            events += await work()
        rates.append(events / (time.perf_counter() - started))
    return median(rates)


async def _plain_insert(connection: Connection) -> int:
    number = next(_numbers)
    await connection.execute(
        "INSERT INTO plain (account_id, amount_minor, currency, external_id)"
        " VALUES ($1, $2, 'USD', $3)",
        f"cus_{number % 5000}",
        100,
        f"x{number}",
    )
    return 1


async def _copy(connection: Connection) -> int:
    records: Iterator[tuple[str, int, str, str]] = (
        (f"cus_{next(_numbers) % 5000}", 100, "USD", f"x{next(_numbers)}") for _ in range(10_000)
    )
    await connection.copy_records_to_table(
        "plain",
        records=records,
        columns=["account_id", "amount_minor", "currency", "external_id"],
        schema_name="ledger",
    )
    return 10_000


async def test_appends_compared_with_plain_inserts(ledger: Ledger) -> None:
    async with ledger.connection(jit="off") as connection:
        await connection.execute(
            "CREATE TABLE plain (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
            " account_id text NOT NULL, amount_minor bigint NOT NULL, currency text NOT NULL,"
            " external_id text UNIQUE, at timestamptz NOT NULL DEFAULT now())"
        )

        async def append_some(make: Make, requests: int, events_each: int) -> int:
            for answer in await append(connection, make(requests, events_each)):
                assert answer.outcome is Outcome.CREATED
            return requests * events_each

        one_insert = await _events_per_s(lambda: _plain_insert(connection), 100)
        copied = await _events_per_s(lambda: _copy(connection), 1)
        table = Table(
            "what", "requests a call", "events each", "events/s", "of one insert", "of COPY"
        )

        async def measure(shapes: list[Shape]) -> None:
            for what, make, requests, events_each, calls in shapes:
                work = partial(append_some, make, requests, events_each)
                rate = await _events_per_s(work, calls)
                table.add_row(
                    what,
                    str(requests),
                    str(events_each),
                    f"{rate:,.0f}",
                    f"{rate / one_insert:.2f}",
                    f"{rate / copied:.3f}",
                )

        await measure(PLAIN)
        started = time.perf_counter()
        projection = await project(connection, 10_000_000)
        projected = projection.last_seq / (time.perf_counter() - started)
        await connection.execute(LIMIT_ALL)
        await measure(LIMITED)
        started = time.perf_counter()
        proof = await verify(connection)
        verified = proof.events_checked / (time.perf_counter() - started)
    assert proof.ok
    out = Console()
    out.print(table)
    out.print(f"one plain insert a transaction {one_insert:,.0f}/s, COPY {copied:,.0f}/s")
    out.print(f"project {projected:,.0f} events/s, verify {verified:,.0f} events/s")
