"""What points in time cost: to ask for one, to project, and on disk."""

import time
from datetime import datetime, timedelta
from random import Random
from statistics import quantiles

from rich.console import Console
from rich.table import Table

from freehold.ledger.client import Connection, project
from freehold.ledger.points_in_time import NOW, Moment, balances_at, balances_over_time, totals
from support.ledgers import Ledgers

EVENTS = 1_000_000
ACCOUNTS = 100_000
QUESTIONS = 500
CURVES = 20
CHECKED = 1
ROUNDS = 10
PROJECTED = 200_000
SPREADS = {
    "all on one day": "now() - random() * interval '1 day'",
    "one an hour": "now() - ({events} - n.place) * interval '1 hour'",
    "a tenth backdated": "at.recorded"
    " - (CASE WHEN random() < 0.1 THEN random() ELSE 0 END) * interval '1 year'",
}
# Rows as append writes them, except for their hashes; 500 are recorded in each second.
FILL = """
    WITH filled AS (
        INSERT INTO ledger_events (
            event_id, seq, account_id, transaction_time, recorded_at, event_type, amount_minor,
            currency, external_id, metadata, hash
        )
        SELECT uuid_v7(floor(extract(EPOCH FROM at.recorded) * 1000)::bigint, n.place), n.place,
            'cus_' || n.place % {accounts}, {time}, at.recorded, 'CHARGE',
            (1 + floor(random() * 10000))::bigint * (CASE WHEN random() < 0.4 THEN -1 ELSE 1 END),
            'USD', 'charge_' || n.place, jsonb_build_object('order_id', n.place::text),
            sha256(n.place::text::bytea)
        FROM generate_series(1, {events}) AS n (place)
        CROSS JOIN LATERAL (
            SELECT now() + n.place * interval '2 milliseconds' AS recorded
        ) AS at
        RETURNING *
    ),
    named AS (
        INSERT INTO external_ids SELECT f.external_id, f.event_id FROM filled AS f
    )
    UPDATE ledger_head
    SET (last_seq, last_event_id, last_recorded_at) = (
        SELECT f.seq, f.event_id, f.recorded_at FROM filled AS f ORDER BY f.seq DESC LIMIT 1
    )
"""
NO_BLOCKS = """
    CREATE OR REPLACE FUNCTION seal_blocks(account_ids text[]) RETURNS void
    LANGUAGE sql AS 'SELECT'
"""
BYTES = """
    SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class AS c
    WHERE c.relnamespace = 'ledger'::regnamespace AND c.relkind = 'r' AND c.relname ~ $1
"""


async def test_an_account_of_a_million_events(ledgers: Ledgers) -> None:
    random = Random(1)
    table = Table("spread", "asked by", "p50 ms", "p99 ms", "bytes", title=f"{EVENTS:,} events")
    for spread in SPREADS:
        async with ledgers.fresh() as ledger, ledger.connection() as connection:
            await _fill(connection, EVENTS, spread=spread)
            await _project_all(connection)
            happened = await _span(connection, "transaction_time")
            known = await _span(connection, "recorded_at")
            events = await connection.fetchval(BYTES, "^(ledger_events|external_ids)")
            blocks = await connection.fetchval(BYTES, "^(account_blocks|block_pages)")
            for name in ("as_of", "known_at", "both"):
                measured = []
                for number in range(QUESTIONS):
                    moment = Moment(
                        None if name == "known_at" else _instant(random, *happened),
                        None if name == "as_of" else _instant(random, *known),
                    )
                    started = time.perf_counter()
                    (row,) = await balances_at(connection, ["cus_0"], moment)
                    measured.append((time.perf_counter() - started) * 1000)
                    if number < CHECKED:
                        assert row["current_balance_minor"] == await _summed(connection, moment)
                percentiles = quantiles(measured, n=100)
                table.add_row(
                    spread,
                    name,
                    f"{percentiles[49]:.1f}",
                    f"{percentiles[98]:.1f}",
                    f"+{blocks / events:.1%}",
                )
            measured = []
            for _ in range(CURVES):
                ends = sorted(_instant(random, *happened) for _ in range(2))
                times = [ends[0] + place * (ends[1] - ends[0]) / 199 for place in range(200)]
                started = time.perf_counter()
                await balances_over_time(connection, "cus_0", "USD", times)
                measured.append((time.perf_counter() - started) * 1000)
            percentiles = quantiles(measured, n=100)
            table.add_row(
                spread, "curve of 200", f"{percentiles[49]:.1f}", f"{percentiles[98]:.1f}", ""
            )
    Console().print(table)


async def test_projecting_with_and_without_blocks(ledgers: Ledgers) -> None:
    table = Table("accounts", "events a call", "us an event without", "with", "ratio")
    for accounts in (1, 5000):
        for events_a_call, calls in ((1, 500), (20, 100), (500, 20), (20_000, 1)):
            async with (
                ledgers.fresh() as without,
                ledgers.fresh() as with_blocks,
                without.connection() as plain,
                with_blocks.connection() as connection,
            ):
                await plain.execute(NO_BLOCKS)
                for each in (plain, connection):
                    await _fill(each, PROJECTED, spread="a tenth backdated", accounts=accounts)
                seconds = {plain: 0.0, connection: 0.0}
                # In turn, so that other work on the machine slows both.
                for _ in range(ROUNDS):
                    for each in seconds:
                        started = time.perf_counter()
                        for _ in range(calls):
                            await project(each, events_a_call)
                        seconds[each] += time.perf_counter() - started
                events = ROUNDS * calls * events_a_call
                table.add_row(
                    f"{accounts:,}",
                    f"{events_a_call:,}",
                    *(f"{each / events * 1e6:.1f}" for each in seconds.values()),
                    f"{seconds[connection] / seconds[plain]:.2f}",
                )
    Console().print(table)


async def test_totals_of_many_accounts(ledgers: Ledgers) -> None:
    table = Table("totals", "p50 ms", title=f"{ACCOUNTS:,} accounts, {EVENTS:,} events")
    async with ledgers.fresh() as ledger, ledger.connection() as connection:
        await _fill(connection, EVENTS, spread="a tenth backdated", accounts=ACCOUNTS)
        await _project_all(connection)
        first, last = await _span(connection, "transaction_time")
        for name, account_prefix, moment in (
            ("now, of all", "", NOW),
            ("now, of a ninth", "cus_1", NOW),
            ("at a time, of all", "", Moment(as_of=first + (last - first) / 2)),
            ("at a time, of a ninth", "cus_1", Moment(as_of=first + (last - first) / 2)),
        ):
            measured = []
            for _ in range(ROUNDS):
                started = time.perf_counter()
                await totals(connection, moment, account_prefix=account_prefix, currency=None)
                measured.append((time.perf_counter() - started) * 1000)
            table.add_row(name, f"{quantiles(measured)[1]:.0f}")
    Console().print(table)


async def _fill(connection: Connection, events: int, *, spread: str, accounts: int = 1) -> None:
    time_of_event = SPREADS[spread].format(events=events)
    await connection.execute(FILL.format(events=events, accounts=accounts, time=time_of_event))
    # As autovacuum does in time.
    await connection.execute("VACUUM (ANALYZE) ledger_events")


async def _project_all(connection: Connection) -> None:
    while (done := await project(connection, 100_000)).last_seq < done.head_seq:
        pass
    await connection.execute("VACUUM (ANALYZE)")


async def _span(connection: Connection, column: str) -> tuple[datetime, datetime]:
    row = await connection.fetchrow(f"SELECT min({column}), max({column}) FROM ledger_events")
    assert row is not None
    return row[0], row[1]


def _instant(random: Random, first: datetime, last: datetime) -> datetime:
    return first + timedelta(seconds=random.uniform(0, (last - first).total_seconds()))


async def _summed(connection: Connection, moment: Moment) -> int:
    amount: int = await connection.fetchval(
        "SELECT coalesce(sum(amount_minor), 0) FROM ledger_events"
        " WHERE transaction_time <= coalesce($1::timestamptz, 'infinity')"
        " AND recorded_at <= coalesce($2::timestamptz, 'infinity')",
        moment.as_of,
        moment.known_at,
    )
    return amount
