"""A ledger of this release, brought to the next one: all of it stays, and goes on.

No release came before this one, so the next one is made up here.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from freehold.ledger import client, search
from freehold.ledger.append import Capture, Outcome
from freehold.ledger.client import Connection
from freehold.ledger.schema import (
    LEDGER_SCHEMA,
    LEDGER_SOURCE,
    LEDGER_VERSION,
    Migration,
    SchemaSource,
)
from freehold.ledger.search import EventFilters
from freehold_tenant_manager.server.migrator import MigrationError, migrate
from support.builders import append, append_request, new_event, new_hold, undo
from support.ledgers import Ledger, Ledgers
from support.schemas import described

BATCH = append_request(
    new_event("cus_1", 500, external_id="ch_1", metadata={"plan": "pro"}),
    new_event("cus_2", 7, transaction_time=datetime(1999, 12, 31, tzinfo=UTC)),
    key="batch",
)
PROJECTED = 3

ADDED_TABLE = "CREATE TABLE notes (event_id uuid PRIMARY KEY, note text NOT NULL);"
ADDED_FUNCTION = (
    "CREATE OR REPLACE FUNCTION noted(wanted uuid) RETURNS text LANGUAGE sql STABLE"
    " SET search_path FROM CURRENT AS 'SELECT n.note FROM notes AS n WHERE n.event_id = wanted';"
)
KEPT_INDEX = "CREATE INDEX idempotency_keys_expiry_idx ON idempotency_keys (expires_at);\n"
LAST_COLUMN = "    hold_expires_at timestamptz,\n    -- One constraint"
HEAD = "'Where the ledger ends.'"


def source_of_next(released: SchemaSource) -> SchemaSource:
    """Add a table, a column of the events and a function, change one; then take an index away."""
    for text, change in ((released.tables, LAST_COLUMN), (released.tables, KEPT_INDEX)):
        assert text.count(change) == 1
    assert released.functions.count(HEAD) == 1
    version = released.version
    return replace(
        released,
        tables=released.tables.replace(KEPT_INDEX, "").replace(
            LAST_COLUMN, LAST_COLUMN.replace(",\n", ",\n    note text,\n", 1)
        )
        + ADDED_TABLE,
        functions=ADDED_FUNCTION + released.functions.replace(HEAD, "'Where it ends.'"),
        migrations=(
            *released.migrations,
            Migration(version + 1, "notes", ADDED_TABLE),
            Migration(version + 2, "note", "ALTER TABLE ledger_events ADD COLUMN note text;"),
            Migration(version + 3, "no_expiry", "DROP INDEX idempotency_keys_expiry_idx;", "after"),
        ),
    )


NEXT = source_of_next(LEDGER_SOURCE)


def released_sources() -> dict[str, SchemaSource]:
    """Read `released/<version>.sql`: the baseline of each release, as it was released."""
    return {
        f"version {file.stem}": SchemaSource(
            file.read_text("utf-8"), "", "", LEDGER_SOURCE.migrations[: int(file.stem) - 1]
        )
        for file in sorted((Path(__file__).parent / "released").glob("*.sql"))
    }


@pytest.fixture
async def connection(ledger: Ledger) -> AsyncIterator[Connection]:
    """A connection to a ledger of this release: by month, half projected, with a reversal."""
    async with ledger.connection() as connection:
        await connection.execute("UPDATE ledger_settings SET partition_span = 'month'")
        year = datetime.now(UTC).year + 3
        await connection.execute("SELECT make_partitions($1)", datetime(year, 1, 1, tzinfo=UTC))
        (batch,) = await append(connection, [BATCH])
        await append(connection, [append_request(new_event("cus_1", 9), key="one")])
        first = batch.events[0]["event_id"]
        (undone,) = await append(connection, [append_request(undo(first), key="undo")])
        assert undone.outcome is Outcome.CREATED
        await connection.execute("SELECT project($1)", PROJECTED)
        yield connection


async def upgrade(connection: Connection, source: SchemaSource = NEXT) -> None:
    assert await migrate(connection, source, LEDGER_SCHEMA) == source.version


async def test_everything_is_still_there_and_proven(connection: Connection) -> None:
    before = await connection.fetch("SELECT * FROM ledger_events ORDER BY seq")
    head = await client.head(connection)
    await upgrade(connection)
    after = await connection.fetch("SELECT * FROM ledger_events ORDER BY seq")
    assert [dict(row) for row in after] == [dict(row) | {"note": None} for row in before]
    assert await client.head(connection) == head
    verified = await client.verify(connection)
    assert (verified.ok, verified.events_checked) == (True, 4)


async def test_keys_used_before_are_known_after(connection: Connection) -> None:
    first = await connection.fetchval("SELECT event_id FROM ledger_events WHERE seq = 1")
    await upgrade(connection)
    answers = await append(
        connection,
        [
            BATCH,
            append_request(undo(first), key="undo"),
            append_request(new_event("cus_1", 10), key="one"),
            append_request(new_event("cus_1", 9), key="one"),
            append_request(new_event(external_id="ch_1")),
            append_request(undo(first)),
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


async def test_event_types_that_are_reserved_later_stay_where_they_were_used(
    connection: Connection,
) -> None:
    await connection.execute(
        "CREATE OR REPLACE FUNCTION is_reserved(event_type text) RETURNS boolean"
        " LANGUAGE sql IMMUTABLE AS 'SELECT false'"
    )
    own = [
        append_request(
            new_event("cus_1", 50, event_type=event_type, external_id=event_type), key=event_type
        )
        for event_type in ("REVERSAL", "HOLD", "HOLD_CAPTURE", "HOLD_EXPIRY")
    ]
    events = [answer.events for answer in await append(connection, own)]
    await upgrade(connection)
    assert [
        (answer.outcome, [dict(row) for row in answer.events])
        for answer in await append(connection, own)
    ] == [(Outcome.REPLAYED, rows) for rows in events]
    (imported, new) = await append(
        connection, [own[0]._replace(key=None), append_request(new_event(event_type="REVERSAL"))]
    )
    assert imported.outcome is Outcome.DUPLICATE_EXTERNAL_ID
    assert new.outcome is Outcome.EVENT_TYPE_RESERVED
    (undone,) = await append(connection, [append_request(undo(events[0][0]["event_id"]))])
    assert undone.outcome is Outcome.CREATED
    assert (await client.project(connection, 100)).last_seq == 9
    assert await client.reconcile(connection) == []
    assert (await client.verify(connection)).ok
    listed = await search.events(connection, EventFilters("cus_1"), rows_max=100)
    assert {"REVERSAL", "HOLD", "HOLD_CAPTURE"} <= {row["event_type"] for row in listed}


async def test_the_state_goes_on_from_where_it_was(connection: Connection) -> None:
    await upgrade(connection)
    assert await client.reconcile(connection) == []
    await append(connection, [append_request(new_hold("cus_1", 40))])
    done = await client.project(connection, 100)
    assert (done.from_seq, done.last_seq) == (PROJECTED + 1, 5)
    rows = await client.balances(connection, ["cus_1", "cus_2"])
    assert [(row["current_balance_minor"], row["held_minor"]) for row in rows] == [(9, 40), (7, 0)]
    assert await client.reconcile(connection) == []


async def test_partitions_made_before_and_after_take_events(connection: Connection) -> None:
    await upgrade(connection)
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
    assert await client.make_partitions(connection) == 0
    far = datetime(datetime.now(UTC).year + 5, 1, 1, tzinfo=UTC)
    assert await connection.fetchval("SELECT make_partitions($1)", far) > 12
    assert (await client.verify(connection)).ok


@pytest.mark.parametrize("stops_after", range(len(NEXT.migrations)))
async def test_an_upgrade_that_stops_anywhere_leaves_a_ledger_that_takes_appends(
    connection: Connection, stops_after: int
) -> None:
    cut_short = (*NEXT.migrations[:stops_after], Migration(99, "broken", "SELECT 1 / 0;"))
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection, replace(NEXT, migrations=cut_short), LEDGER_SCHEMA)
    await append(connection, [append_request(new_event("cus_1", 3))])
    assert (await client.verify(connection)).ok
    await upgrade(connection)
    await append(connection, [append_request(new_hold())])
    assert (await client.project(connection, 100)).last_seq == 6
    assert await client.reconcile(connection) == []
    assert (await client.verify(connection)).ok


@pytest.mark.parametrize(
    ("released", "current"),
    [
        pytest.param(LEDGER_SOURCE, NEXT, id="the next release"),
        *(
            pytest.param(source, LEDGER_SOURCE, id=name)
            for name, source in released_sources().items()
        ),
    ],
)
async def test_a_ledger_brought_up_to_date_is_like_a_new_one(
    ledgers: Ledgers, released: SchemaSource, current: SchemaSource
) -> None:
    """Where this fails: sql/ has changed, and no migration says the same to released ledgers."""
    descriptions = []
    for sources in ((released, current.through("before"), current), (current,)):
        async with ledgers.unmade() as ledger, ledger.connection() as connection:
            for source in sources:
                await upgrade(connection, source)
            descriptions.append(await described(connection, LEDGER_SCHEMA))
            assert [
                row["version"]
                for row in await connection.fetch(
                    "SELECT version FROM schema_migrations ORDER BY 1"
                )
            ] == list(range(1, current.version + 1))
    migrated, new = descriptions
    assert migrated == new
    assert len(new) > 200


async def test_a_migration_that_was_changed_is_refused(connection: Connection) -> None:
    await upgrade(connection)
    changed = tuple(replace(one, sql=one.sql + " ") for one in NEXT.migrations)
    with pytest.raises(MigrationError, match=f"migration {LEDGER_VERSION + 1} "):
        await migrate(connection, replace(NEXT, migrations=changed), LEDGER_SCHEMA)


async def test_functions_are_valid_complete_and_may_be_loaded_again(ledger: Ledger) -> None:
    async with ledger.connection(search_path=f"{LEDGER_SCHEMA}, pg_temp") as connection:
        before = await described(connection, LEDGER_SCHEMA)
        # Checked this time. The migrator does not check: a function may name one loaded after it.
        await connection.execute(LEDGER_SOURCE.functions)
        assert await described(connection, LEDGER_SCHEMA) == before
