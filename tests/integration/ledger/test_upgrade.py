"""A ledger as an earlier release has left it, brought up to date: all of it stays, and goes on."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import pytest

from freehold.contracts.events import NewEvent
from freehold.ledger import client
from freehold.ledger.appending import AppendRequest, Capture, Outcome
from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_MIGRATIONS, LEDGER_SCHEMA, LEDGER_VERSION
from freehold_tenant_manager.migration.migrating import migrate
from support.builders import append, append_request, new_event, new_hold, undo
from support.ledgers import Ledger, Ledgers

FIRST_RELEASE = 5
NEW_APPEND = 8
FIRST_APPEND = (
    "SELECT request, outcome, event_id FROM append($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
)
BATCH = append_request(
    new_event("cus_1", 500, external_id="ch_1", metadata={"plan": "pro"}),
    new_event("cus_2", 7, transaction_time=datetime(1999, 12, 31, tzinfo=UTC)),
    key="batch",
)
PROJECTED = 3


@pytest.fixture
async def connection(ledgers: Ledgers) -> AsyncIterator[Connection]:
    """A connection to a ledger of the first release: by month, half projected, with reversals."""
    async with ledgers.unmade() as ledger, ledger.connection() as connection:
        await migrate(connection, LEDGER_MIGRATIONS[:FIRST_RELEASE], LEDGER_SCHEMA)
        await connection.execute("UPDATE ledger_settings SET partition_span = 'month'")
        year = datetime.now(UTC).year + 3
        await connection.execute("SELECT make_partitions($1)", datetime(year, 1, 1, tzinfo=UTC))
        (first, _) = await append_as_first_released(connection, BATCH)
        await append_as_first_released(connection, append_request(new_event("cus_1", 9), key="one"))
        (reversal,) = await connection.fetch(
            FIRST_APPEND,
            ["undo"],
            [append_request(undo(first)).fingerprint],
            ["1"],
            *[[None]] * 5,
            [str(first)],
            [None],
            ["{}"],
        )
        assert reversal["outcome"] == "created"
        await connection.execute("SELECT project($1)", PROJECTED)
        yield connection


async def append_as_first_released(connection: Connection, request: AppendRequest) -> list[UUID]:
    """Call append as the services of then do."""
    events = [event for event in request.additions if isinstance(event, NewEvent)]
    rows = await connection.fetch(
        FIRST_APPEND,
        [request.key],
        [request.fingerprint],
        ["1"] * len(events),
        [event.account_id for event in events],
        [event.transaction_time and event.transaction_time.isoformat() for event in events],
        [event.event_type for event in events],
        [str(event.amount_minor) for event in events],
        [event.currency for event in events],
        [None] * len(events),
        [event.external_id for event in events],
        ['{"plan": "pro"}' if event.metadata else "{}" for event in events],
    )
    assert {row["outcome"] for row in rows} == {"created"}
    return [row["event_id"] for row in rows]


async def upgrade(connection: Connection) -> None:
    assert await migrate(connection, LEDGER_MIGRATIONS, LEDGER_SCHEMA) == LEDGER_VERSION


async def test_everything_is_still_there_and_proven(connection: Connection) -> None:
    before = await connection.fetch("SELECT * FROM ledger_events ORDER BY seq")
    head = await client.head(connection)
    await upgrade(connection)
    after = await connection.fetch("SELECT * FROM ledger_events ORDER BY seq")
    assert [dict(row) for row in after] == [
        {**row, "hold_id": None, "held_minor": None, "hold_expires_at": None} for row in before
    ]
    assert await client.head(connection) == head
    found = await client.verify(connection)
    assert (found.ok, found.events_checked) == (True, 4)


async def test_keys_used_before_are_known_after(connection: Connection) -> None:
    first = [
        row["event_id"] for row in await connection.fetch("SELECT event_id FROM ledger_events")
    ]
    await upgrade(connection)
    answers = await append(
        connection,
        [
            BATCH,
            append_request(undo(first[0]), key="undo"),
            append_request(new_event("cus_1", 10), key="one"),
            append_request(new_event("cus_1", 9), key="one"),
            append_request(new_event(external_id="ch_1")),
            append_request(undo(first[0])),
        ],
    )
    assert [answer.outcome for answer in answers] == [
        Outcome.REPLAYED,
        Outcome.REPLAYED,
        Outcome.KEY_REUSED,
        Outcome.REPLAYED,
        Outcome.DUPLICATE_EXTERNAL_ID,
        Outcome.ALREADY_REVERSED,
    ]
    assert [event["seq"] for answer in answers for event in answer.events] == [1, 2, 4, 3]


async def test_the_state_goes_on_from_where_it_was(connection: Connection) -> None:
    await upgrade(connection)
    assert await client.reconcile(connection) == []
    await append(connection, [append_request(new_hold("cus_1", 40))])
    done = await client.project(connection, 100)
    assert (done.from_seq, done.last_seq) == (PROJECTED + 1, 5)
    rows = await client.balances(connection, ["cus_1", "cus_2"])
    assert [(row["current_balance_minor"], row["held_minor"]) for row in rows] == [(9, 40), (7, 0)]
    assert await client.reconcile(connection) == []


async def test_partitions_made_before_take_events_that_post_nothing_but_hold(
    connection: Connection,
) -> None:
    await upgrade(connection)
    partitions = await connection.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent = 'ledger_events'::regclass"
    )
    assert len(partitions) > 12
    zero = new_event().model_copy(update={"amount_minor": 0})
    for place, instant in enumerate(
        (datetime.now(UTC), datetime(datetime.now(UTC).year + 2, 6, 1, tzinfo=UTC))
    ):
        await connection.execute("UPDATE ledger_head SET last_recorded_at = $1", instant)
        (placed,) = await append(connection, [append_request(new_hold())])
        hold_id = placed.events[0]["hold_id"]
        (captured,) = await append(connection, [append_request(Capture(hold_id, 1))])
        assert captured.events[-1]["seq"] == 4 + 2 * (place + 1)
        with pytest.raises(asyncpg.CheckViolationError):
            await append(connection, [append_request(zero)])
    constraints = await connection.fetch(
        "SELECT DISTINCT pg_get_constraintdef(oid), convalidated FROM pg_constraint"
        " WHERE conname = 'ledger_events_sound'"
    )
    assert [row["convalidated"] for row in constraints] == [True]
    # And so do those made after.
    assert await client.make_partitions(connection) == 0
    far = datetime(datetime.now(UTC).year + 5, 1, 1, tzinfo=UTC)
    assert await connection.fetchval("SELECT make_partitions($1)", far) > 12
    assert (await client.verify(connection)).ok


@pytest.mark.parametrize("version", range(FIRST_RELEASE + 1, LEDGER_VERSION))
async def test_an_upgrade_that_stops_anywhere_leaves_a_ledger_that_takes_appends(
    connection: Connection, version: int
) -> None:
    await migrate(connection, LEDGER_MIGRATIONS[:version], LEDGER_SCHEMA)
    request = append_request(new_event("cus_1", 3))
    if version < NEW_APPEND:
        await append_as_first_released(connection, request)
    else:
        await append(connection, [request])
    assert (await client.verify(connection)).ok
    await upgrade(connection)
    await append(connection, [append_request(new_hold())])
    assert (await client.project(connection, 100)).last_seq == 6
    assert await client.reconcile(connection) == []
    assert (await client.verify(connection)).ok


async def test_a_ledger_brought_up_to_date_is_like_a_new_one(
    connection: Connection, ledger: Ledger
) -> None:
    await upgrade(connection)
    async with ledger.connection() as fresh:
        assert await described(connection) == await described(fresh)


async def described(connection: Connection) -> list[tuple[str, ...]]:
    """Every column, function and constraint, but for those of partitions."""
    rows = await connection.fetch(
        """
        SELECT 'column', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
            a.attnotnull::text
        FROM pg_attribute AS a INNER JOIN pg_class AS c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'ledger'::regnamespace AND NOT c.relispartition
            AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT 'function', p.oid::regprocedure::text, p.prosrc, p.proconfig::text,
            p.prosecdef::text
        FROM pg_proc AS p WHERE p.pronamespace = 'ledger'::regnamespace
        UNION ALL
        SELECT 'constraint', c.relname, k.conname, pg_get_constraintdef(k.oid),
            k.convalidated::text
        FROM pg_constraint AS k INNER JOIN pg_class AS c ON c.oid = k.conrelid
        WHERE c.relnamespace = 'ledger'::regnamespace AND NOT c.relispartition
        """
    )
    return sorted(tuple(row) for row in rows)
