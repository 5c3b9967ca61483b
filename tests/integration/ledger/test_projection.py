"""The state tables: derived from the ledger, checked against it, and made anew from it."""

import asyncio

import pytest

from freehold.ledger import client
from freehold.ledger.append import Capture, Release
from freehold.ledger.client import Connection, Record
from support.builders import append, append_request, make_blocks_small, new_event, new_hold
from support.ledgers import Ledger
from support.waiting import PATIENCE_S

ACCOUNTS = ["a", "b", "c"]

DAMAGE = {
    "another balance": "UPDATE account_balances SET current_balance_minor = 1 WHERE {b}",
    "another amount held": "UPDATE account_balances SET held_minor = 1 WHERE {b}",
    "another count": "UPDATE account_balances SET event_count = 9 WHERE {b}",
    "another last seq": "UPDATE account_balances SET last_seq = 1 WHERE {b}",
    "another last event": (
        "UPDATE account_balances SET last_ledger_event_id = gen_random_uuid() WHERE {b}"
    ),
    "a lost account": "DELETE FROM account_balances WHERE {b}",
    "an invented account": (
        "INSERT INTO account_balances SELECT 'b', 'XTS', 0, 0, last_ledger_event_id, 0, now()"
        " FROM projection_checkpoint"
    ),
}

BLOCK_DAMAGE = {
    "another amount": "UPDATE block_pages SET amounts[1] = 9 WHERE block_seq = {seq}",
    "another time": "UPDATE block_pages SET times[1] = now() WHERE block_seq = {seq}",
    "another sum": "UPDATE block_pages SET in_before = 9 WHERE block_seq = {seq}",
    "another beginning": "UPDATE account_blocks SET page_times[1] = now() WHERE block_seq = {seq}",
    "a lost page": "DELETE FROM block_pages WHERE block_seq = {seq} AND page_number = 2",
    "a lost block": "DELETE FROM account_blocks WHERE block_seq = {seq}",
    "an invented block": (
        "INSERT INTO account_blocks SELECT account_id, block_seq, 'XTS', page_times"
        " FROM account_blocks WHERE block_seq = {seq}"
    ),
}


@pytest.fixture
async def projected(connection: Connection) -> Connection:
    """A ledger of 30 events on three accounts, 20 of which are projected."""
    await project_some(connection)
    return connection


async def project_some(connection: Connection) -> None:
    events = [new_event(ACCOUNTS[number % 3], number + 1) for number in range(30)]
    await append(connection, [append_request(*events)])
    done = await client.project(connection, 20)
    assert (done.from_seq, done.last_seq, done.head_seq, done.epoch) == (1, 20, 30, 1)


async def do(connection: Connection, damage: str) -> None:
    await connection.execute(damage.format(b="account_id = 'b'"))


async def state(connection: Connection) -> list[Record]:
    return await connection.fetch("SELECT * FROM account_balances ORDER BY 1, 2")


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
async def test_reconcile_names_the_account_and_rebuild_repairs_it(
    projected: Connection, damage: str
) -> None:
    good = await client.balances(projected, ACCOUNTS, strong=True)
    await do(projected, damage)
    assert [row["account_id"] for row in await client.reconcile(projected)] == ["b"]
    assert await client.rebuild(projected) == 30
    assert await client.reconcile(projected) == []
    lag = await client.projection_lag(projected)
    assert (lag.projected_seq, lag.events_behind, lag.seconds_behind) == (30, 0, 0)
    names = [
        "account_id",
        "currency",
        "current_balance_minor",
        "held_minor",
        "event_count",
        "last_seq",
    ]
    assert [[row[name] for name in names] for row in await state(projected)] == [
        [row[name] for name in names] for row in good
    ]


@pytest.mark.parametrize("damage", BLOCK_DAMAGE.values(), ids=list(BLOCK_DAMAGE))
@pytest.mark.parametrize("seq", [11, 23], ids=["first block", "last block"])
async def test_reconcile_finds_a_block_that_differs(
    connection: Connection, damage: str, seq: int
) -> None:
    await make_blocks_small(connection)
    await project_some(connection)
    await client.project(connection, 10)
    before = await blocks(connection)
    await connection.execute(damage.format(seq=seq))
    differing = await client.reconcile(connection)
    assert {row["account_id"] for row in differing} == {"b"}
    assert all(row["blocks_differ"] for row in differing)
    assert await client.rebuild(connection) == 30
    assert await client.reconcile(connection) == []
    assert await blocks(connection) == before


async def blocks(connection: Connection) -> list[Record]:
    rows = await connection.fetch("SELECT * FROM block_pages ORDER BY 1, 2, 3")
    return rows + await connection.fetch("SELECT * FROM account_blocks ORDER BY 1, 2, 3")


async def test_blocks_are_the_same_however_the_ledger_is_projected(connection: Connection) -> None:
    await make_blocks_small(connection)
    await project_some(connection)
    for _ in range(10):
        await client.project(connection, 1)
    one_by_one = await blocks(connection)
    assert {row["block_seq"] for row in one_by_one} == {10, 11, 12, 22, 23, 24}
    await connection.execute("DELETE FROM account_blocks; DELETE FROM block_pages")
    await client.rebuild(connection)
    assert await blocks(connection) == one_by_one


async def test_reconcile_says_what_differs(projected: Connection) -> None:
    await do(projected, DAMAGE["another balance"])
    (row,) = await client.reconcile(projected)
    assert (row["account_id"], row["currency"]) == ("b", "USD")
    assert (row["state_balance_minor"], row["ledger_balance_minor"]) == (1, 77)
    assert (row["state_event_count"], row["ledger_event_count"]) == (7, 7)
    await do(projected, DAMAGE["another amount held"])
    (row,) = await client.reconcile(projected)
    assert (row["state_held_minor"], row["ledger_held_minor"]) == (1, 0)


async def test_rebuild_leaves_good_rows_as_they_are(projected: Connection) -> None:
    await client.project(projected, 100)
    before = await state(projected)
    await do(projected, DAMAGE["another count"])
    await client.rebuild(projected)
    after = await state(projected)
    assert [before[0], before[2]] == [after[0], after[2]]


async def test_projecting_without_news_changes_nothing(projected: Connection) -> None:
    await client.project(projected, 100)
    before = await state(projected)
    done = await client.project(projected, 100)
    assert (done.from_seq, done.last_seq, done.head_seq) == (31, 30, 30)
    assert await state(projected) == before


async def test_a_checkpoint_set_back_applies_nothing_twice(projected: Connection) -> None:
    before = await state(projected)
    await projected.execute(
        "UPDATE projection_checkpoint"
        " SET last_seq = 0, last_ledger_event_id = '00000000-0000-0000-0000-000000000000'"
    )
    assert (await client.project(projected, 20)).last_seq == 20
    assert await state(projected) == before
    await client.project(projected, 100)
    assert await client.reconcile(projected) == []


async def test_balances_grow_past_64_bits(connection: Connection) -> None:
    largest = [new_event("whale", 2**63 - 1) for _ in range(5)]
    await append(connection, [append_request(*largest[:2])])
    await client.project(connection, 100)
    await append(connection, [append_request(*largest[2:])])
    (strong,) = await client.balances(connection, ["whale"], strong=True)
    assert strong["current_balance_minor"] == 5 * (2**63 - 1)
    await client.project(connection, 100)
    (row,) = await client.balances(connection, ["whale"])
    assert row["current_balance_minor"] == 5 * (2**63 - 1)


async def test_a_strong_read_includes_what_is_not_projected(projected: Connection) -> None:
    weak = await client.balances(projected, ["c"])
    strong = await client.balances(projected, ["c"], strong=True)
    assert [row["event_count"] for row in (*weak, *strong)] == [6, 10]
    assert strong[0]["last_seq"] == 30
    assert strong[0]["last_updated_time"] <= weak[0]["last_updated_time"]
    await append(projected, [append_request(new_event("new", 5))])
    assert await client.balances(projected, ["new"]) == []
    (row,) = await client.balances(projected, ["new"], strong=True)
    assert row["current_balance_minor"] == 5


async def test_what_is_held_is_projected_with_the_rest(projected: Connection) -> None:
    answers = await append(projected, [append_request(new_hold("a", 2**63 - 1)) for _ in range(3)])
    hold_ids = [answer.events[0]["hold_id"] for answer in answers]
    await append(
        projected, [append_request(Capture(hold_ids[0], 1)), append_request(Release(hold_ids[1]))]
    )
    seen = []
    for last_seq in (30, 32, 33, 34, 35):
        lag = await client.projection_lag(projected)
        await client.project(projected, last_seq - lag.projected_seq)
        (row,) = await client.balances(projected, ["a"])
        seen.append((row["current_balance_minor"], row["held_minor"]))
        assert await client.reconcile(projected) == []
    largest = 2**63 - 1
    assert seen == [
        (145, 0),
        (145, 2 * largest),
        (145, 3 * largest),
        (144, 2 * largest),
        (144, largest),
    ]
    (strong,) = await client.balances(projected, ["a"], strong=True)
    assert (strong["current_balance_minor"], strong["held_minor"]) == seen[-1]


async def test_lag_counts_events_and_seconds(projected: Connection) -> None:
    await asyncio.sleep(0.02)
    lag = await client.projection_lag(projected)
    assert (lag.head_seq, lag.projected_seq, lag.events_behind) == (30, 20, 10)
    assert 0.02 <= lag.seconds_behind < 60
    await client.project(projected, 100)
    lag = await client.projection_lag(projected)
    assert (lag.events_behind, lag.seconds_behind) == (0, 0)


async def test_an_empty_ledger_is_in_order(connection: Connection) -> None:
    done = await client.project(connection, 100)
    assert (done.from_seq, done.last_seq, done.head_seq) == (1, 0, 0)
    assert await client.rebuild(connection) == 0
    assert await client.reconcile(connection) == []
    verification = await client.verify(connection)
    assert (verification.ok, verification.events_checked) == (True, 0)
    lag = await client.projection_lag(connection)
    assert (lag.events_behind, lag.seconds_behind) == (0, 0)


async def test_readers_see_the_old_state_while_it_is_made_anew(ledger: Ledger) -> None:
    async with ledger.connection() as writer, ledger.connection() as reader:
        await project_some(writer)
        await do(writer, DAMAGE["another balance"])
        async with writer.transaction():
            await client.rebuild(writer)
            async with asyncio.timeout(PATIENCE_S):
                (row,) = await client.balances(reader, ["b"])
            assert row["current_balance_minor"] == 1
        (row,) = await client.balances(reader, ["b"])
    assert row["current_balance_minor"] == sum(range(2, 31, 3))
