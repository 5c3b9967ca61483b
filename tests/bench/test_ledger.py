"""How much of Postgres's own speed the ledger keeps: ratios taken within one run."""

import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from itertools import count
from statistics import median

from rich.console import Console
from rich.table import Table

from freehold.ledger.client import AppendRequest, Connection, append, project, verify
from support.builders import append_request, new_event
from support.ledgers import Ledger

_numbers = count()
ROUNDS = 5


def _requests(requests: int, events_each: int) -> list[AppendRequest]:
    return [
        append_request(
            *(
                new_event(f"cus_{(number := next(_numbers)) % 5000}", external_id=f"x{number}")
                for _ in range(events_each)
            )
        )
        for _ in range(requests)
    ]


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


async def test_appending_beside_plain_inserts(ledger: Ledger) -> None:
    async with ledger.connection(jit="off") as connection:
        await connection.execute(
            "CREATE TABLE plain (id uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
            " account_id text NOT NULL, amount_minor bigint NOT NULL, currency text NOT NULL,"
            " external_id text UNIQUE, at timestamptz NOT NULL DEFAULT now())"
        )

        async def append_some(requests: int, events_each: int) -> int:
            await append(connection, _requests(requests, events_each))
            return requests * events_each

        one_insert = await _events_per_s(lambda: _plain_insert(connection), 100)
        copied = await _events_per_s(lambda: _copy(connection), 1)
        shapes = {(1, 1): 100, (64, 1): 10, (256, 1): 4, (1, 1000): 2, (1, 10_000): 1}
        table = Table("requests a call", "events each", "events/s", "of one insert", "of COPY")
        for (requests, events_each), calls in shapes.items():
            rate = await _events_per_s(partial(append_some, requests, events_each), calls)
            table.add_row(
                str(requests),
                str(events_each),
                f"{rate:,.0f}",
                f"{rate / one_insert:.2f}",
                f"{rate / copied:.3f}",
            )
        started = time.perf_counter()
        projection = await project(connection, 10_000_000)
        projected = projection.last_seq / (time.perf_counter() - started)
        started = time.perf_counter()
        proof = await verify(connection)
        verified = proof.events_checked / (time.perf_counter() - started)
    assert proof.ok
    out = Console()
    out.print(table)
    out.print(f"one plain insert a transaction {one_insert:,.0f}/s, COPY {copied:,.0f}/s")
    out.print(f"project {projected:,.0f} events/s, verify {verified:,.0f} events/s")
