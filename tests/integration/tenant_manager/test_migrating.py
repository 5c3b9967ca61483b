import asyncio
import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_MIGRATIONS, Migration
from freehold_tenant_manager.migration.migrating import MigrationError, migrate
from integration.tenant_manager.installation import Installation

FIRST = Migration(1, "first", "CREATE TABLE one (x integer); INSERT INTO one VALUES (1);")
SECOND = Migration(2, "second", "ALTER TABLE one ADD COLUMN y integer;")


@pytest.fixture(scope="module")
async def database(installation: Installation) -> AsyncIterator[str]:
    name = f"freehold_test_{secrets.token_hex(6)}"
    async with installation.superuser() as superuser:
        await superuser.execute(f"CREATE DATABASE {name} OWNER {installation.role}")
        yield name
        await superuser.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def connection(installation: Installation, database: str) -> AsyncIterator[Connection]:
    connection = await _connect(installation, database)
    yield connection
    await connection.close(timeout=10)


@pytest.fixture
def schema() -> str:
    """A name that must be quoted."""
    return f'New "{secrets.token_hex(4)}"'


async def _connect(installation: Installation, database: str) -> Connection:
    return await asyncpg.connect(
        installation.url(database, installation.role, installation.password), timeout=10
    )


async def _rows(connection: Connection, schema: str) -> list[tuple[int, str]]:
    quoted = await connection.fetchval("SELECT quote_ident($1)", schema)
    rows = await connection.fetch(
        f"SELECT version, name FROM {quoted}.schema_migrations ORDER BY version"
    )
    return [(row["version"], row["name"]) for row in rows]


async def test_migrations_are_applied_once_and_in_order(
    connection: Connection, schema: str
) -> None:
    assert await migrate(connection, [FIRST], schema) == 1
    assert await migrate(connection, [FIRST, SECOND], schema) == 2
    assert await migrate(connection, [FIRST, SECOND], schema) == 2
    assert await _rows(connection, schema) == [(1, "first"), (2, "second")]
    quoted = await connection.fetchval("SELECT quote_ident($1)", schema)
    assert await connection.fetchval(f"SELECT count(*) FROM {quoted}.one") == 1


async def test_a_later_releases_schema_is_left_alone(connection: Connection, schema: str) -> None:
    await migrate(connection, [FIRST, SECOND], schema)
    assert await migrate(connection, [FIRST], schema) == 2


async def test_a_changed_migration_is_refused(connection: Connection, schema: str) -> None:
    await migrate(connection, [FIRST], schema)
    changed = Migration(1, "first", FIRST.sql + " ")
    with pytest.raises(MigrationError):
        await migrate(connection, [changed, SECOND], schema)
    assert await _rows(connection, schema) == [(1, "first")]


async def test_a_failed_migration_leaves_those_before_it(
    connection: Connection, schema: str
) -> None:
    broken = Migration(2, "broken", "CREATE TABLE two (x integer); SELECT 1 / 0;")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection, [FIRST, broken], schema)
    assert await _rows(connection, schema) == [(1, "first")]
    assert await migrate(connection, [FIRST, SECOND], schema) == 2


async def test_runners_at_once_apply_each_migration_once(
    installation: Installation, database: str, schema: str
) -> None:
    connections = [await _connect(installation, database) for _ in range(4)]
    try:
        versions = await asyncio.gather(
            *(migrate(connection, LEDGER_MIGRATIONS, schema) for connection in connections)
        )
    finally:
        for connection in connections:
            await connection.close(timeout=10)
    assert set(versions) == {len(LEDGER_MIGRATIONS)}


async def test_a_migration_does_not_queue_for_long_behind_others(
    installation: Installation, database: str, connection: Connection, schema: str
) -> None:
    await migrate(connection, [FIRST], schema)
    quoted = await connection.fetchval("SELECT quote_ident($1)", schema)
    other = await _connect(installation, database)
    try:
        async with other.transaction():
            await other.execute(f"LOCK TABLE {quoted}.one IN ACCESS SHARE MODE")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await migrate(connection, [FIRST, SECOND], schema, lock_timeout_s=0.1)
    finally:
        await other.close(timeout=10)
    assert await migrate(connection, [FIRST, SECOND], schema) == 2
