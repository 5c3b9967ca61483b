"""Partitions: by year or by month, made ahead, without holding up anyone."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from freehold.ledger import client
from freehold.ledger.append import Row
from freehold.ledger.client import Connection
from support.builders import append, append_request, new_event, stop_clock
from support.ledgers import Ledger


@dataclass(frozen=True)
class Partition:
    name: str
    starts: datetime
    ends: datetime


async def partitions(connection: Connection) -> list[Partition]:
    """The partitions in order of time, read from the bounds that Postgres keeps."""
    rows = await connection.fetch(
        r"""
        SELECT c.relname AS name,
            regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''(.*)''\) TO \(''(.*)''\)')
            AS bounds
        FROM pg_inherits AS i
        INNER JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'ledger_events'::regclass
        """
    )
    found = [Partition(row["name"], *map(instant_of, row["bounds"])) for row in rows]
    return sorted(found, key=lambda partition: partition.starts)


def instant_of(bound: str) -> datetime:
    """The time in a UUIDv7, after which a bound is all zeros."""
    digits = bound.replace("-", "")
    assert digits[12:] == "0" * 20
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(digits[:12], 16))


def start_of_year(year: int) -> datetime:
    return datetime(year, 1, 1, tzinfo=UTC)


def assert_no_gap(found: list[Partition]) -> None:
    assert [partition.starts for partition in found[1:]] == [
        partition.ends for partition in found[:-1]
    ]


async def span_by(connection: Connection, span: str) -> None:
    await connection.execute("UPDATE ledger_settings SET partition_span = $1", span)


async def make_until(connection: Connection, until: datetime) -> int:
    made: int = await connection.fetchval("SELECT make_partitions($1)", until)
    return made


async def record_at(connection: Connection, instant: datetime) -> Row:
    """Append an event as if the clock stood at a later time."""
    await stop_clock(connection, instant)
    (answer,) = await append(connection, [append_request(new_event())])
    return answer.events[0]


async def partition_of(connection: Connection, event: Row) -> str:
    name: str = await connection.fetchval(
        "SELECT tableoid::regclass::text FROM ledger_events WHERE event_id = $1", event["event_id"]
    )
    return name


async def test_a_new_ledger_has_this_year_and_the_next(connection: Connection) -> None:
    year = datetime.now(UTC).year
    assert await partitions(connection) == [
        Partition(f"ledger_events_{year}", start_of_year(year), start_of_year(year + 1)),
        Partition(f"ledger_events_{year + 1}", start_of_year(year + 1), start_of_year(year + 2)),
    ]


async def test_making_partitions_again_makes_none(connection: Connection) -> None:
    assert await client.make_partitions(connection) == 0
    assert await make_until(connection, start_of_year(datetime.now(UTC).year + 5)) == 4
    assert await make_until(connection, start_of_year(datetime.now(UTC).year + 5)) == 0
    assert_no_gap(await partitions(connection))


async def test_a_ledger_by_month_has_twelve_to_the_year(connection: Connection) -> None:
    await span_by(connection, "month")
    year = datetime.now(UTC).year + 2
    assert await make_until(connection, start_of_year(year) + timedelta(days=364)) == 12
    found = await partitions(connection)
    assert_no_gap(found)
    assert [partition.name for partition in found[2:]] == [
        f"ledger_events_{year}_{month:02}" for month in range(1, 13)
    ]
    assert [partition.starts for partition in found[2:]] == [
        datetime(year, month, 1, tzinfo=UTC) for month in range(1, 13)
    ]


async def test_a_ledger_by_month_from_its_first_day(connection: Connection) -> None:
    for partition in await partitions(connection):
        await connection.execute(f"DROP TABLE {partition.name}")
    await span_by(connection, "month")
    assert await client.make_partitions(connection) == 13
    found = await partitions(connection)
    assert_no_gap(found)
    now = datetime.now(UTC)
    assert found[0].starts == datetime(now.year, now.month, 1, tzinfo=UTC)
    event = await record_at(connection, now)
    assert await partition_of(connection, event) == f"ledger_events_{now:%Y_%m}"


async def test_a_tenant_may_go_over_to_months_and_back(connection: Connection) -> None:
    year = datetime.now(UTC).year
    await span_by(connection, "month")
    assert await make_until(connection, datetime(year + 2, 5, 31, tzinfo=UTC)) == 5
    await span_by(connection, "year")
    assert await make_until(connection, datetime(year + 3, 5, 31, tzinfo=UTC)) == 2
    await span_by(connection, "month")
    assert await make_until(connection, datetime(year + 4, 2, 1, tzinfo=UTC)) == 2
    found = await partitions(connection)
    assert_no_gap(found)
    assert found[-1].ends == datetime(year + 4, 3, 1, tzinfo=UTC)
    for partition in found:
        event = await record_at(connection, partition.ends - timedelta(microseconds=1))
        assert await partition_of(connection, event) == partition.name
    assert (await client.verify(connection)).ok


async def test_events_stand_in_the_partition_of_their_recorded_time(connection: Connection) -> None:
    this_year, next_year = await partitions(connection)
    last = await record_at(connection, this_year.ends - timedelta(microseconds=1))
    first = await record_at(connection, next_year.starts)
    assert await partition_of(connection, last) == this_year.name
    assert await partition_of(connection, first) == next_year.name
    # They are one ledger all the same.
    assert [last["seq"], first["seq"]] == [1, 2]
    assert (await client.verify(connection)).events_checked == 2
    assert (await client.project(connection, 10)).last_seq == 2
    assert await client.reconcile(connection) == []


async def noted_end(connection: Connection) -> datetime | None:
    """Up to when append takes it that there are partitions."""
    until: datetime | None = await connection.fetchval(
        "SELECT partitions_until FROM ledger_settings"
    )
    return until


async def test_append_knows_up_to_when_there_are_partitions(connection: Connection) -> None:
    assert await noted_end(connection) == (await partitions(connection))[-1].ends
    await make_until(connection, start_of_year(datetime.now(UTC).year + 3))
    (*_, last) = await partitions(connection)
    assert await noted_end(connection) == last.ends
    # Whatever was done to them by hand: the next making of partitions puts the note right.
    await connection.execute(f"DROP TABLE {last.name}")
    assert await client.make_partitions(connection) == 0
    assert await noted_end(connection) == last.starts


@pytest.mark.parametrize("span", ["year", "month"])
async def test_an_append_past_the_last_partition_makes_the_one_it_needs(
    connection: Connection, span: str
) -> None:
    await record_at(connection, datetime.now(UTC))
    before = await partitions(connection)
    await span_by(connection, span)
    event = await record_at(connection, before[-1].ends)
    assert event["seq"] == 2
    assert (await record_at(connection, before[-1].ends))["seq"] == 3
    found = await partitions(connection)
    assert found[:-1] == before
    assert_no_gap(found)
    assert await partition_of(connection, event) == found[-1].name
    assert await noted_end(connection) == found[-1].ends
    assert (await client.verify(connection)).ok
    # It is as immutable as those that were made ahead.
    with pytest.raises(asyncpg.RestrictViolationError):
        await connection.execute(f"DELETE FROM {found[-1].name}")


@pytest.mark.parametrize("note", ["NULL", "'2020-01-01'"])
async def test_a_note_that_is_too_early_is_put_right_by_the_next_append(
    connection: Connection, note: str
) -> None:
    await connection.execute(f"UPDATE ledger_settings SET partitions_until = {note}")
    before = await partitions(connection)
    await append(connection, [append_request(new_event())])
    assert await partitions(connection) == before
    assert await noted_end(connection) == before[-1].ends


async def test_a_tenant_without_upkeep_for_years_can_append(connection: Connection) -> None:
    # As if its partitions had been made long ago: none is left for now.
    for partition in await partitions(connection):
        await connection.execute(f"DROP TABLE {partition.name}")
    await connection.execute("UPDATE ledger_settings SET partitions_until = '2024-01-01'")
    (answer,) = await append(connection, [append_request(new_event())])
    year = datetime.now(UTC).year
    assert await partition_of(connection, answer.events[0]) == f"ledger_events_{year}"
    assert [partition.ends for partition in await partitions(connection)] == [
        start_of_year(year + 1)
    ]


async def test_an_append_that_fails_leaves_no_partition(connection: Connection) -> None:
    before = await partitions(connection)
    await connection.execute("UPDATE ledger_head SET last_recorded_at = $1", before[-1].ends)
    zero = new_event().model_copy(update={"amount_minor": 0})
    with pytest.raises(asyncpg.CheckViolationError):
        async with connection.transaction():
            await append(connection, [append_request(zero)])
    assert await partitions(connection) == before
    assert await noted_end(connection) == before[-1].ends


async def test_many_at_once_past_the_last_partition_make_it_once(ledger: Ledger) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(60):
        connections = [
            await stack.enter_async_context(ledger.connection(lock_timeout="20s"))
            for _ in range(12)
        ]
        first = connections[0]
        await append(first, [append_request(new_event())])
        (*_, last) = await partitions(first)
        await first.execute("UPDATE ledger_head SET last_recorded_at = $1", last.ends)
        readers = connections[8:10]
        # Readers within a transaction delay no one, nor do makers of partitions.
        for reader in readers:
            await reader.execute("BEGIN")
            await reader.fetch("SELECT * FROM ledger_events")
        answers, made = await asyncio.gather(
            asyncio.gather(
                *(
                    append(connection, [append_request(new_event())])
                    for connection in connections[:8]
                )
            ),
            asyncio.gather(
                *(
                    make_until(connection, last.ends + timedelta(days=400))
                    for connection in connections[10:]
                )
            ),
        )
        assert sorted(answer.events[0]["seq"] for (answer,) in answers) == list(range(2, 10))
        assert sum(made) in (1, 2)
        found = await partitions(first)
        assert_no_gap(found)
        assert len(found) == 4
        for reader in readers:
            assert (await client.verify(reader)).ok
            await reader.execute("COMMIT")
        assert (await client.verify(first)).events_checked == 9


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago"])
async def test_spans_are_cut_in_utc_wherever_the_session_is(ledger: Ledger, zone: str) -> None:
    year = datetime.now(UTC).year
    async with ledger.connection(timezone=zone) as connection:
        await make_until(connection, start_of_year(year + 3))
        found = await partitions(connection)
    assert [partition.starts for partition in found] == [
        start_of_year(year + number) for number in range(4)
    ]


async def test_making_partitions_holds_up_no_one(ledger: Ledger) -> None:
    year = datetime.now(UTC).year

    async def make(connection: Connection) -> int:
        made = [
            await make_until(connection, start_of_year(year + 2) + timedelta(days=30 * month))
            for month in range(24)
        ]
        return sum(made)

    async def add(connection: Connection) -> int:
        return sum(
            [
                len((await append(connection, [append_request(new_event())]))[0].events)
                for _ in range(40)
            ]
        )

    async with AsyncExitStack() as stack, asyncio.timeout(60):
        connections = [
            await stack.enter_async_context(ledger.connection(lock_timeout="20s"))
            for _ in range(10)
        ]
        await span_by(connections[0], "month")
        made, appended = await asyncio.gather(
            asyncio.gather(*map(make, connections[:4])), asyncio.gather(*map(add, connections[4:]))
        )
        assert (sum(made), sum(appended)) == (23, 240)
        assert_no_gap(await partitions(connections[0]))
        assert (await client.verify(connections[0])).events_checked == 240


async def test_making_a_partition_waits_for_no_reader_and_no_writer(ledger: Ledger) -> None:
    async with ledger.connection() as writer, ledger.connection(lock_timeout="2s") as maker:
        async with writer.transaction():
            await append(writer, [append_request(new_event())])
            assert await make_until(maker, start_of_year(datetime.now(UTC).year + 2)) == 1
        assert (await client.verify(maker)).ok
