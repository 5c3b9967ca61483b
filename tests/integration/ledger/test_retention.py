"""Idempotency keys are forgotten once they have expired, in small steps and beside all else."""

import asyncio
from datetime import timedelta

import pytest

from freehold.ledger import client, search
from freehold.ledger.append import Outcome
from freehold.ledger.client import Connection
from support.builders import append, append_request, let_pass, new_event, undo
from support.ledgers import Ledger

EXPIRE = "UPDATE idempotency_keys SET expires_at = now() - interval '1 hour' WHERE {}"
IMPATIENT = "500ms"


async def keys(connection: Connection) -> list[str]:
    rows = await connection.fetch("SELECT idempotency_key FROM idempotency_keys ORDER BY 1")
    return [row["idempotency_key"] for row in rows]


async def use_keys(connection: Connection) -> Connection:
    """Use the keys a..f, of which a..d have expired, the last one first."""
    requests = [append_request(new_event(external_id=f"ch_{key}"), key=key) for key in "abcdef"]
    await append(connection, requests)
    for key in "abcd":
        await connection.execute(
            "UPDATE idempotency_keys SET expires_at = now() - ascii($1) * interval '1 second'"
            " WHERE idempotency_key = $1",
            key,
        )
    return connection


@pytest.fixture
async def used(connection: Connection) -> Connection:
    """A ledger with those keys, as one transaction sees it."""
    return await use_keys(connection)


@pytest.fixture
async def shared(own_connection: Connection) -> Connection:
    """A ledger with those keys, which other connections see too."""
    return await use_keys(own_connection)


async def test_expired_keys_are_forgotten_step_by_step_and_the_oldest_first(
    used: Connection,
) -> None:
    assert await client.forget_expired_keys(used, 3) == 3
    assert await keys(used) == ["a", "e", "f"]
    assert await client.forget_expired_keys(used, 3) == 1
    assert await client.forget_expired_keys(used, 3) == 0
    assert await keys(used) == ["e", "f"]
    assert await client.forget_expired_keys(used, 0) == 0


async def test_uniqueness_tables_are_never_pruned(used: Connection) -> None:
    (event,) = await search.events(used, rows_max=1)
    await append(used, [append_request(undo(event["event_id"]))])
    await used.execute(EXPIRE.format("true"))
    assert await client.forget_expired_keys(used, 100) == 7
    answers = await append(
        used,
        [append_request(new_event(external_id="ch_a")), append_request(undo(event["event_id"]))],
    )
    assert [answer.outcome for answer in answers] == [
        Outcome.DUPLICATE_EXTERNAL_ID,
        Outcome.ALREADY_REVERSED,
    ]
    assert (await client.verify(used)).ok


async def test_a_forgotten_key_is_a_new_one(used: Connection) -> None:
    await client.forget_expired_keys(used, 100)
    other = append_request(new_event("other"), key="a")
    (answer,) = await append(used, [other])
    assert answer.outcome is Outcome.CREATED
    (answer,) = await append(used, [other])
    assert answer.outcome is Outcome.REPLAYED
    assert await client.forget_expired_keys(used, 100) == 0


async def test_forgetting_and_appending_do_not_wait_for_each_other(
    shared: Connection, ledger: Ledger
) -> None:
    async with (
        ledger.connection(lock_timeout=IMPATIENT) as sweeper,
        ledger.connection(lock_timeout=IMPATIENT) as writer,
    ):
        # An append that goes on, and is about to write an expired key anew.
        async with shared.transaction():
            await append(shared, [append_request(new_event("other"), key="a")])
            assert await client.forget_expired_keys(sweeper, 100) == 3
        assert await keys(shared) == ["a", "e", "f"]
        # A sweep that goes on.
        await shared.execute(EXPIRE.format("idempotency_key = 'f'"))
        async with sweeper.transaction():
            assert await client.forget_expired_keys(sweeper, 100) == 1
            (answer,) = await append(writer, [append_request(new_event(), key="g")])
            assert answer.outcome is Outcome.CREATED
    assert await keys(shared) == ["a", "e", "g"]


async def test_concurrent_sweepers_share_the_work(shared: Connection, ledger: Ledger) -> None:
    async with ledger.connection(lock_timeout=IMPATIENT) as other, shared.transaction():
        assert await client.forget_expired_keys(shared, 3) == 3
        assert await client.forget_expired_keys(other, 3) == 1


async def test_appends_that_use_keys_while_they_are_forgotten_are_answered_rightly(
    shared: Connection, ledger: Ledger
) -> None:
    rounds = 40

    async def sweep() -> int:
        async with ledger.connection() as sweeper:
            forgotten = 0
            while not finished.is_set():
                forgotten += await client.forget_expired_keys(sweeper, 2)
            return forgotten

    async def use(connection: Connection) -> None:
        for place in range(rounds):
            requests = [append_request(new_event(f"{place}"), key=key) for key in "abc"]
            for answer in await append(connection, requests):
                assert answer.outcome is Outcome.CREATED
            await connection.execute(EXPIRE.format("idempotency_key IN ('a', 'b', 'c')"))

    finished = asyncio.Event()
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        sweeping = group.create_task(sweep())
        await use(shared)
        finished.set()
    assert sweeping.result() > 0
    assert (await client.verify(shared)).events_checked == 6 + 3 * rounds


async def test_a_key_forgotten_between_two_looks_at_it_is_a_new_one(used: Connection) -> None:
    # As if it had expired, and been forgotten, after append had found it.
    await used.execute(
        "CREATE OR REPLACE FUNCTION known_requests(asked addition[], clock timestamptz)"
        " RETURNS answer[] LANGUAGE sql AS $$ SELECT '{}'::answer[] $$"
    )
    answers = await append(
        used,
        [
            append_request(new_event("1")),
            append_request(new_event("2"), key="e"),
            append_request(new_event("3")),
        ],
    )
    assert [answer.events[0]["account_id"] for answer in answers] == ["1", "2", "3"]
    assert (await client.head(used)).seq == 9


async def test_a_key_that_has_not_expired_by_the_clock_is_not_forgotten(
    connection: Connection,
) -> None:
    await let_pass(connection, timedelta(days=3))
    await append(connection, [append_request(new_event())])
    assert await client.forget_expired_keys(connection, 100) == 0


async def test_a_sweep_reads_no_more_than_it_removes(own_connection: Connection) -> None:
    number = 20_000
    await own_connection.execute(
        "INSERT INTO idempotency_keys SELECT 'key-' || n, 'x', uuid_v7(0, n), uuid_v7(0, n),"
        " now() + (n - 50) * interval '1 hour' FROM generate_series(1, $1::integer) AS n",
        number,
    )
    assert await client.forget_expired_keys(own_connection, 10) == 10
    read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = $1"
    async with own_connection.transaction():
        assert await client.forget_expired_keys(own_connection, 10) == 10
        assert await own_connection.fetchval(read, "idempotency_keys") <= 60
