"""Nothing in the ledger is ever updated or deleted, not by its owner and not by a superuser."""

import asyncpg
import pytest

from freehold.ledger import rules
from freehold.ledger.client import Connection
from support.builders import append, append_request, new_event, undo

COLUMNS = {
    "external_ids": ("external_id", "event_id"),
    "reversals": ("reversed_event_id", "event_id"),
}


@pytest.fixture
async def filled(connection: Connection) -> Connection:
    """A ledger with something in each of its tables."""
    (answer,) = await append(connection, [append_request(new_event(external_id="ch_1"))])
    await append(connection, [append_request(undo(answer.events[0]["event_id"]))])
    return connection


async def partitions(connection: Connection) -> list[str]:
    rows = await connection.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits"
        " WHERE inhparent = 'ledger_events'::regclass ORDER BY 1"
    )
    return [row["name"] for row in rows]


async def changes(connection: Connection) -> list[str]:
    """Every way to change or lose a row, of every table that must keep its rows."""
    events = ["ledger_events", *await partitions(connection)]
    assert len(events) >= 3
    statements = [
        statement
        for table in [*events, *COLUMNS]
        for statement in (
            f"UPDATE {table} SET event_id = event_id",
            f"UPDATE {table} SET event_id = gen_random_uuid() WHERE false",
            f"DELETE FROM {table}",
            f"DELETE FROM {table} WHERE false",
            f"TRUNCATE {table}",
            f"TRUNCATE {table} CASCADE",
            f"MERGE INTO {table} AS t USING (SELECT 1) AS s ON true WHEN MATCHED THEN DELETE",
        )
    ]
    statements += [f"TRUNCATE ONLY {table}" for table in events[1:]]
    statements += [
        f"INSERT INTO {table} SELECT * FROM {table}"
        f" ON CONFLICT ({key}) DO UPDATE SET {value} = excluded.{value}"
        for table, (key, value) in COLUMNS.items()
    ]
    statements.append(
        "INSERT INTO ledger_events SELECT * FROM ledger_events"
        " ON CONFLICT (event_id) DO UPDATE SET amount_minor = 1"
    )
    return statements


async def contents(connection: Connection) -> list[list[tuple[object, ...]]]:
    return [
        [tuple(row) for row in await connection.fetch(f"SELECT * FROM {table}")]
        for table in ("ledger_events", *COLUMNS)
    ]


async def assert_all_refused(connection: Connection) -> None:
    before = await contents(connection)
    for statement in await changes(connection):
        with pytest.raises(asyncpg.RestrictViolationError, match="the ledger is append-only"):
            async with connection.transaction():
                await connection.execute(statement)
    assert await contents(connection) == before
    assert all(before)


async def test_a_superuser_can_change_nothing(filled: Connection) -> None:
    await assert_all_refused(filled)


async def test_a_superuser_who_plays_replica_can_change_nothing(filled: Connection) -> None:
    # This switches ordinary triggers off; ours are ENABLE ALWAYS.
    await filled.execute("SET session_replication_role TO replica")
    await assert_all_refused(filled)


async def test_an_owner_who_is_no_superuser_can_change_nothing(filled: Connection) -> None:
    await filled.execute("CREATE ROLE freehold_test_owner")
    await filled.execute("GRANT USAGE, CREATE ON SCHEMA ledger TO freehold_test_owner")
    for table in [*await partitions(filled), "ledger_events", *COLUMNS, "ledger_settings"]:
        await filled.execute(f"ALTER TABLE {table} OWNER TO freehold_test_owner")
    await filled.execute("SET ROLE freehold_test_owner")
    await assert_all_refused(filled)


async def test_partitions_made_later_are_as_immutable(filled: Connection) -> None:
    await filled.execute("UPDATE ledger_settings SET partition_span = 'month'")
    made = await filled.fetchval("SELECT make_partitions(now() + interval '3 years')")
    assert made > 10
    await assert_all_refused(filled)
    await filled.execute("SET session_replication_role TO replica")
    await assert_all_refused(filled)


@pytest.mark.parametrize(
    "statement", ["UPDATE rule_changes SET subject = ''", "DELETE FROM rule_changes"]
)
async def test_changes_of_rules_are_permanent(connection: Connection, statement: str) -> None:
    await rules.limit_account(connection, "cus_1", "USD", 4)
    with pytest.raises(asyncpg.RestrictViolationError):
        await connection.execute(statement)


async def test_the_refusal_says_what_to_do_instead(filled: Connection) -> None:
    with pytest.raises(asyncpg.RestrictViolationError) as refused:
        await filled.execute("DELETE FROM ledger_events")
    assert refused.value.hint == "Append a reversal instead."
