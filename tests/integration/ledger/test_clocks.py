"""Clocks that leap, lag or stand still: what the ledger believes, and what it writes then."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import asyncpg
import pytest

from freehold.contracts.errors import ClocksDisagree
from freehold.database.failures import database_failures
from freehold.ledger import append as ledger_append
from freehold.ledger import client, rules, search
from freehold.ledger.append import AppendRequest, Capture, Outcome, Release
from freehold.ledger.client import Connection
from freehold.ledger.clocks import DISAGREEMENT, Clock
from support.builders import (
    append,
    append_request,
    new_event,
    new_hold,
    set_clock,
    stop_clock,
    undo,
)

HOUR = timedelta(hours=1)
TICK = timedelta(microseconds=1)
CLOCK = Clock(60)
CALLS: dict[str, Callable[[Connection, Clock], Awaitable[Any]]] = {
    "append": lambda connection, clock: ledger_append.append(
        connection, [append_request(new_event())], clock
    ),
    "expire_holds": client.expire_holds,
    "forget_expired_keys": lambda connection, clock: client.forget_expired_keys(
        connection, 10, clock
    ),
    "make_partitions": client.make_partitions,
    "declare_event_type": lambda connection, clock: rules.declare_event_type(
        connection, "CHARGE", "any", "", clock
    ),
    "close_event_types": lambda connection, clock: rules.close_event_types(
        connection, clock, closed=True
    ),
    "limit_account": lambda connection, clock: rules.limit_account(
        connection, "cus_1", "USD", 0, clock
    ),
}
TABLES = (
    *("ledger_events", "ledger_head", "idempotency_keys", "holds", "rule_changes"),
    *("ledger_settings", "event_types", "account_limits", "pg_inherits"),
)


async def contents(connection: Connection) -> list[list[asyncpg.Record]]:
    return [await connection.fetch(f"SELECT * FROM {table} ORDER BY 1") for table in TABLES]


@pytest.mark.parametrize("leap", [400 * 24 * HOUR, HOUR, -HOUR, -400 * 24 * HOUR])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_while_clocks_disagree_nothing_is_done(
    connection: Connection, call: Callable[[Connection, Clock], Awaitable[Any]], leap: timedelta
) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=30)
    await append(
        connection, [append_request(new_event()), append_request(new_hold(expires_at=soon))]
    )
    before = await contents(connection)
    await set_clock(connection, leap)
    with (
        pytest.raises(ClocksDisagree, match="the database's clock is") as refused,
        database_failures(),
    ):
        async with connection.transaction():
            await call(connection, CLOCK)
    assert refused.value.retry_after_s
    assert await contents(connection) == before
    # It is the same where the other one's is wrong.
    await set_clock(connection, timedelta())
    with pytest.raises(asyncpg.PostgresError) as wrong:
        async with connection.transaction():
            await call(connection, Clock(60, now=lambda: datetime.now(UTC) + leap))
    assert wrong.value.sqlstate == DISAGREEMENT
    assert await contents(connection) == before
    await call(connection, CLOCK)


async def test_a_difference_within_the_bound_is_believed(connection: Connection) -> None:
    await set_clock(connection, timedelta(seconds=50))
    ahead = await ledger_append.append(connection, [append_request(new_event())], CLOCK)
    await set_clock(connection, timedelta(seconds=-50))
    behind = await ledger_append.append(connection, [append_request(new_event())], CLOCK)
    (first,), (second,) = ahead.answers[0].events, behind.answers[0].events
    assert second["recorded_at"] == first["recorded_at"] + TICK
    assert second["transaction_time"] < first["transaction_time"]


async def test_a_clock_leap_that_was_recorded_affects_only_the_order(
    connection: Connection,
) -> None:
    """A leap as a release that believed its one clock has written it."""
    await set_clock(connection, 400 * 24 * HOUR)
    leapt = append_request(new_event("cus_1", 5), new_hold("cus_1", 2), key="leapt")
    # A hold and an event in one request, so that both are of the same time.
    (answer,) = await append(connection, [leapt._replace(additions=leapt.additions[:1])])
    (placed,) = await append(connection, [append_request(new_hold("cus_1", 2), key="hold")])
    (event,), (hold,) = answer.events, placed.events
    await set_clock(connection, timedelta())
    before = datetime.now(UTC)
    assert hold["recorded_at"] > before + 399 * 24 * HOUR

    # Times that are not given are the clock's, and are answered as they are stored.
    plain = append_request(new_event("cus_1", 7), key="plain")
    legs = append_request(new_event("a", 1), new_event("b", -1), transaction=True)
    holding = append_request(new_hold("cus_1", 1, expires_at=before + HOUR))
    answers = await append(connection, [plain, legs, holding])
    (replayed,) = await append(connection, [plain])
    assert replayed.outcome is Outcome.REPLAYED
    returned = [dict(row) for answer in answers for row in answer.events]
    stored = await search.events(connection, after=hold["event_id"], rows_max=9)
    assert returned == [dict(row) for row in stored]
    assert [dict(row) for row in replayed.events] == returned[:1]
    assert {row["recorded_at"] for row in returned} == {hold["recorded_at"] + TICK}
    for row in returned:
        assert before <= row["transaction_time"] <= datetime.now(UTC)
    # Keys end when they should.
    expires_at = await connection.fetchval(
        "SELECT expires_at FROM idempotency_keys WHERE idempotency_key = 'plain'"
    )
    assert before + 24 * HOUR <= expires_at <= datetime.now(UTC) + 24 * HOUR

    # What undoes an event of the leap is no earlier than it, and neither is what settles a hold.
    undone, settled = await append(
        connection,
        [append_request(undo(event["event_id"])), append_request(Release(hold["hold_id"]))],
    )
    assert undone.events[0]["transaction_time"] == event["transaction_time"]
    assert settled.events[1]["transaction_time"] == hold["transaction_time"]

    # Holds expire by the clock.
    await set_clock(connection, 2 * HOUR)
    await client.expire_holds(connection)
    (*_, expiry) = await search.events(connection, rows_max=99)
    assert expiry["event_type"] == "HOLD_EXPIRY"
    assert before + 2 * HOUR <= expiry["transaction_time"] <= datetime.now(UTC) + 2 * HOUR
    # Rules that change come after the events of before, and before those that follow.
    await rules.limit_account(connection, "cus_1", "USD", -5)
    (late,) = (await append(connection, [append_request(new_event())]))[0].events
    changed_at = await connection.fetchval("SELECT max(changed_at) FROM rule_changes")
    assert expiry["recorded_at"] < changed_at <= late["recorded_at"]
    assert (await client.verify(connection)).ok


async def test_a_hold_of_a_leap_that_expires_is_settled_no_earlier_than_it_was_placed(
    connection: Connection,
) -> None:
    soon = datetime.now(UTC) + 2 * HOUR
    await set_clock(connection, HOUR)
    (placed,) = await append(connection, [append_request(new_hold(expires_at=soon))])
    await connection.execute(
        "UPDATE holds SET expires_at = now(); UPDATE ledger_settings SET next_hold_expiry = now()"
    )
    await set_clock(connection, timedelta())
    await client.expire_holds(connection)
    (*_, expiry) = await search.events(connection, rows_max=9)
    assert expiry["transaction_time"] == placed.events[0]["transaction_time"]


async def test_a_settlement_that_is_dated_before_its_hold_is_refused(
    connection: Connection,
) -> None:
    (placed,) = await append(connection, [append_request(new_hold())])
    hold = placed.events[0]

    async def release(at: datetime) -> list[str]:
        rows = await connection.fetch(
            "SELECT outcome FROM append(json_build_array(json_build_object("
            " 'request', 1, 'index', 1, 'metadata', '{}'::json, 'transaction_time', $1::text,"
            " 'event_type', 'HOLD_RELEASE', 'amount_minor', 0, 'hold_id', $2::text)))",
            at.isoformat(),
            str(hold["hold_id"]),
        )
        return [row["outcome"] for row in rows]

    assert "predates_original" in await release(hold["transaction_time"] - TICK)
    # Both of the hold's events, and the call.
    assert await release(hold["transaction_time"]) == ["created", "created", "appended"]


@pytest.mark.parametrize("span", ["year", "month"])
@pytest.mark.parametrize("behind", [timedelta(seconds=1), 3 * 366 * 24 * HOUR])
async def test_a_first_event_before_the_time_at_which_the_ledger_was_made_is_taken(
    connection: Connection, span: str, behind: timedelta
) -> None:
    """The template was made in the first second of a year, by a clock that was ahead."""
    await connection.execute("UPDATE ledger_settings SET partition_span = $1", span)
    first = await connection.fetchval(
        "SELECT min(substring(pg_get_expr(c.relpartbound, c.oid) FROM 'FROM \\(''(.{36})''\\)'))"
        " FROM pg_class AS c WHERE c.relispartition AND c.relkind = 'r'"
    )
    starts = datetime.fromtimestamp(int(first[:13].replace("-", ""), 16) / 1000, UTC)
    for at in (starts - behind, starts - TICK, starts):
        await stop_clock(connection, at)
        (answer,) = await append(connection, [append_request(new_event())])
        assert answer.events[0]["recorded_at"] == at
    assert (await client.verify(connection)).ok


async def test_partitions_that_a_clock_ahead_has_made_leave_no_gap(connection: Connection) -> None:
    await set_clock(connection, 5 * 366 * 24 * HOUR)
    await connection.execute("SELECT make_partitions(ledger_now())")
    for days in range(0, 5 * 366, 100):
        await set_clock(connection, timedelta(days=days))
        (answer,) = await append(connection, [append_request(new_event())])
        assert answer.outcome is Outcome.CREATED


EXPIRY = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.mark.parametrize("forgotten", [False, True])
async def test_a_key_is_known_to_the_microsecond_before_it_expires(
    connection: Connection, *, forgotten: bool
) -> None:
    request = append_request(new_event("cus_1", 1), key="k")
    other = append_request(new_event("cus_1", 2), key="k")
    await stop_clock(connection, EXPIRY - 24 * HOUR)
    await append(connection, [request])
    await stop_clock(connection, EXPIRY - TICK)
    assert await client.forget_expired_keys(connection, 10) == 0
    answers = await append(connection, [request, other])
    assert [answer.outcome for answer in answers] == [Outcome.REPLAYED, Outcome.KEY_REUSED]
    # From then on it is another request's, whether it was forgotten or not.
    await stop_clock(connection, EXPIRY)
    if forgotten:
        assert await client.forget_expired_keys(connection, 10) == 1
    answers = await append(connection, [other, request])
    assert [answer.outcome for answer in answers] == [Outcome.CREATED, Outcome.KEY_REUSED]
    assert answers[0].events[0]["recorded_at"] == EXPIRY
    assert (await client.head(connection)).seq == 2


async def test_at_its_end_a_key_makes_one_event_while_others_forget_it(ledger: Any) -> None:
    """Appends and forgetting race for the moment at which the same key expires, again and again."""
    retention = timedelta(milliseconds=30)
    request = append_request(new_event(), key="k")
    async with ledger.connection() as one, ledger.connection() as two, ledger.connection() as three:
        await one.execute("UPDATE ledger_settings SET idempotency_retention = $1", retention)
        over = datetime.now(UTC) + timedelta(seconds=3)

        async def ask(connection: Connection) -> None:
            while datetime.now(UTC) < over:
                (answer,) = await append(connection, [request])
                assert answer.outcome in {Outcome.CREATED, Outcome.REPLAYED}

        async def forget() -> None:
            while datetime.now(UTC) < over:
                await client.forget_expired_keys(three, 10)

        await asyncio.gather(ask(one), ask(two), forget())
        times = [row["recorded_at"] for row in await search.events(one, rows_max=10_000)]
        assert len(times) > 2
        for earlier, later in pairwise(times):
            assert later - earlier >= retention


async def test_a_capture_at_the_moment_of_its_holds_expiry_is_too_late(
    connection: Connection,
) -> None:
    await stop_clock(connection, EXPIRY - HOUR)
    answers = await append(
        connection, [append_request(new_hold(expires_at=EXPIRY)) for _ in range(2)]
    )
    one, other = (answer.events[0]["hold_id"] for answer in answers)

    async def capture(hold_id: Any) -> Outcome:
        (answer,) = await append(connection, [AppendRequest(None, "", [Capture(hold_id)])])
        return answer.outcome

    await stop_clock(connection, EXPIRY - TICK)
    assert await capture(one) is Outcome.CREATED
    await stop_clock(connection, EXPIRY)
    assert await capture(other) is Outcome.HOLD_NOT_PENDING
