import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_SOURCE, Migration, SchemaSource
from freehold_tenant_manager.catalog.source import CATALOG_SOURCE
from freehold_tenant_manager.server.migrator import MigrationError, migrate
from integration.tenant_manager.installation import Installation
from support.schemas import described

SECOND = Migration(2, "second", "ALTER TABLE one ADD COLUMN y integer;")
AFTER = Migration(3, "after", "ALTER TABLE one DROP COLUMN x;", "after")
TABLES = "CREATE TABLE one (x integer); INSERT INTO one VALUES (1);"
ANSWER = "CREATE OR REPLACE FUNCTION answer() RETURNS integer LANGUAGE sql AS 'SELECT {}';"
FIRST_RELEASE = SchemaSource(TABLES, ANSWER.format(1))
NEXT_RELEASE = SchemaSource(
    "CREATE TABLE one (x integer, y integer); INSERT INTO one VALUES (1);",
    ANSWER.format(2),
    migrations=(SECOND,),
)


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


async def _in(connection: Connection, schema: str, query: str) -> object:
    quoted = await connection.fetchval("SELECT quote_ident($1)", schema)
    return await connection.fetchval(query.format(quoted))


async def test_migrations_are_applied_once_and_in_order(
    connection: Connection, schema: str
) -> None:
    assert await migrate(connection, FIRST_RELEASE, schema) == 1
    assert await migrate(connection, NEXT_RELEASE, schema) == 2
    assert await migrate(connection, NEXT_RELEASE, schema) == 2
    assert await _rows(connection, schema) == [(1, "baseline"), (2, "second")]
    assert await _in(connection, schema, "SELECT count(*) FROM {}.one") == 1


async def test_a_new_schema_is_made_of_the_whole_source(
    connection: Connection, schema: str
) -> None:
    assert await migrate(connection, NEXT_RELEASE, schema) == 2
    assert await _rows(connection, schema) == [(1, "baseline"), (2, "second")]
    assert await _in(connection, schema, "SELECT {}.answer()") == 2


async def test_the_last_migration_before_a_deploy_loads_the_functions(
    connection: Connection, schema: str
) -> None:
    await migrate(connection, FIRST_RELEASE, schema)
    needs = Migration(2, "needs", "CREATE TABLE two (x integer);")
    adds = Migration(3, "adds", "CREATE TABLE three (x integer);")
    # Parsed when it is loaded, so it needs the tables of both.
    answer = (
        "CREATE OR REPLACE FUNCTION answer() RETURNS integer LANGUAGE sql"
        " BEGIN ATOMIC SELECT count(*)::integer FROM two, three; END;"
    )
    after = Migration(4, "after", "DROP TABLE one;", "after")
    source = SchemaSource("", answer, migrations=(needs, adds, after))
    assert await migrate(connection, source.through("before"), schema) == 3
    assert await _in(connection, schema, "SELECT {}.answer()") == 0
    assert await migrate(connection, source, schema) == 4


async def test_a_later_releases_schema_is_left_alone(connection: Connection, schema: str) -> None:
    await migrate(connection, NEXT_RELEASE, schema)
    assert await migrate(connection, FIRST_RELEASE, schema) == 2
    assert await _in(connection, schema, "SELECT {}.answer()") == 2


async def test_a_changed_migration_is_refused(connection: Connection, schema: str) -> None:
    await migrate(connection, NEXT_RELEASE, schema)
    changed = replace(SECOND, sql=SECOND.sql + " ")
    with pytest.raises(MigrationError):
        await migrate(connection, replace(NEXT_RELEASE, migrations=(changed, AFTER)), schema)
    assert await _rows(connection, schema) == [(1, "baseline"), (2, "second")]


async def test_a_failed_migration_leaves_those_before_it(
    connection: Connection, schema: str
) -> None:
    await migrate(connection, FIRST_RELEASE, schema)
    broken = Migration(3, "broken", "CREATE TABLE two (x integer); SELECT 1 / 0;", "after")
    source = replace(NEXT_RELEASE, migrations=(SECOND, broken))
    with pytest.raises(asyncpg.DivisionByZeroError) as caught:
        await migrate(connection, source, schema)
    assert caught.value.__notes__ == ["in migration 3 broken"]
    assert await _rows(connection, schema) == [(1, "baseline"), (2, "second")]
    source = replace(NEXT_RELEASE, migrations=(SECOND, AFTER))
    assert await migrate(connection, source, schema) == 3


async def test_a_schema_that_cannot_be_made_leaves_nothing(
    connection: Connection, schema: str
) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(connection, replace(FIRST_RELEASE, triggers="SELECT 1 / 0;"), schema)
    assert await _rows(connection, schema) == []
    assert await migrate(connection, FIRST_RELEASE, schema) == 1


async def test_migrators_at_once_apply_each_migration_once(
    installation: Installation, database: str, schema: str
) -> None:
    connections = [await _connect(installation, database) for _ in range(4)]
    try:
        versions = await asyncio.gather(
            *(migrate(connection, LEDGER_SOURCE, schema) for connection in connections)
        )
    finally:
        for connection in connections:
            await connection.close(timeout=10)
    assert set(versions) == {LEDGER_SOURCE.version}


async def test_a_catalog_brought_up_to_date_is_like_a_new_one(connection: Connection) -> None:
    next_release = replace(
        CATALOG_SOURCE,
        tables=CATALOG_SOURCE.tables.replace(
            "BETWEEN 1 AND 100)\n", "BETWEEN 1 AND 100),\n    colour text\n"
        ),
        functions=CATALOG_SOURCE.functions.replace("'tenant:'", "'of-tenant:'"),
        migrations=(Migration(2, "colour", "ALTER TABLE api_keys ADD COLUMN colour text;"),),
    )
    descriptions = []
    for sources in ((CATALOG_SOURCE, next_release), (next_release,)):
        for source in sources:
            assert await migrate(connection, source, "catalog") == source.version
        descriptions.append(await described(connection, "catalog"))
        await connection.execute("DROP SCHEMA catalog CASCADE")
    migrated, new = descriptions
    assert migrated == new
    assert len(new) > 200


async def test_a_migration_does_not_queue_for_long_behind_others(
    installation: Installation, database: str, connection: Connection, schema: str
) -> None:
    await migrate(connection, FIRST_RELEASE, schema)
    quoted = await connection.fetchval("SELECT quote_ident($1)", schema)
    other = await _connect(installation, database)
    try:
        async with other.transaction():
            await other.execute(f"LOCK TABLE {quoted}.one IN ACCESS SHARE MODE")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await migrate(connection, NEXT_RELEASE, schema, lock_timeout_s=0.1)
    finally:
        await other.close(timeout=10)
    assert await migrate(connection, NEXT_RELEASE, schema) == 2
