"""Rights: what is made after they were given has them too."""

from datetime import UTC, datetime

import pytest

from freehold.ledger import client
from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_GRANTS
from support.builders import append, append_request, new_event

READERS = ("auditor", "backup")
SERVICES = ("ingest", "projector", "query", "manager", *READERS)


@pytest.fixture
async def prefix(connection: Connection) -> str:
    """A tenant's roles, with their rights to the ledger."""
    prefix = "freehold_test"
    for service in SERVICES:
        await connection.execute(f"CREATE ROLE {prefix}_{service}")
    await connection.execute("SELECT set_config('freehold.role_prefix', $1, false)", prefix)
    # Twice, as after a second migration.
    await connection.execute(LEDGER_GRANTS)
    await connection.execute(LEDGER_GRANTS)
    return prefix


async def out_of_reach(connection: Connection, role: str) -> set[str]:
    """The tables and views that a role may not read: pg_dump needs every one of them."""
    rows = await connection.fetch(
        "SELECT relname FROM pg_class"
        " WHERE relnamespace = 'ledger'::regnamespace AND relkind IN ('r', 'p', 'v')"
        " AND NOT has_table_privilege($1, oid, 'SELECT')",
        role,
    )
    return {row["relname"] for row in rows}


async def test_readers_may_read_partitions_made_later(connection: Connection, prefix: str) -> None:
    for reader in READERS:
        assert await out_of_reach(connection, f"{prefix}_{reader}") == set()
    year = datetime.now(UTC).year
    # One is made by the projector's upkeep, and one by an append that found none.
    await connection.execute(f"SET ROLE {prefix}_projector")
    until = datetime(year + 2, 1, 1, tzinfo=UTC)
    assert await connection.fetchval("SELECT make_partitions($1)", until) == 1
    await connection.execute("RESET ROLE")
    await connection.execute(
        "UPDATE ledger_head SET last_recorded_at = $1", datetime(year + 3, 1, 1, tzinfo=UTC)
    )
    await connection.execute(f"SET ROLE {prefix}_ingest")
    await append(connection, [append_request(new_event())])
    for reader in READERS:
        await connection.execute(f"SET ROLE {prefix}_{reader}")
        for made in (f"ledger_events_{year + 2}", f"ledger_events_{year + 3}"):
            await connection.fetch(f"SELECT * FROM {made}")
        assert (await client.verify(connection)).events_checked == 1
        await connection.execute("RESET ROLE")
        assert await out_of_reach(connection, f"{prefix}_{reader}") == set()
    # No other role may.
    for service in SERVICES[: -len(READERS)]:
        assert f"ledger_events_{year + 3}" in await out_of_reach(connection, f"{prefix}_{service}")
