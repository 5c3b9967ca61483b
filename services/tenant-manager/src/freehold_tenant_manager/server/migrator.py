"""The migrator: makes and changes the catalog's schema and every ledger's.

Forward only. The schema itself records each version that it has, with the checksum of its
migration. A migration that was edited after it had been applied is refused.
"""

from collections.abc import Awaitable, Callable, Sequence

from freehold.database.queries import load_queries, load_script
from freehold.ledger.client import Connection
from freehold.ledger.schema import Migration, SchemaSource
from freehold_tenant_manager.server.locks import Lock, locked
from freehold_tenant_manager.server.statements import execute_formatted

_PACKAGE = "freehold_tenant_manager.server"
_QUERIES = load_queries(_PACKAGE, "queries.sql")
_SCHEMA_MIGRATIONS = load_script(_PACKAGE, "schema_migrations.sql")

# As in a dump: a function may name one that is loaded after it.
_UNCHECKED = "SET LOCAL check_function_bodies TO off;\n"


class MigrationError(Exception):
    """A migration was changed after it had been applied."""


async def migrate(
    connection: Connection,
    source: SchemaSource,
    schema: str,
    *,
    closing: Callable[[], Awaitable[None]] | None = None,
    lock_timeout_s: float = 5.0,
    timeout_s: float = 600.0,
) -> int:
    """Make a schema, or apply the migrations that it does not have yet.

    A new schema is made of the source as a whole, in one transaction. An existing one gets each
    migration in a transaction of its own. The functions are loaded anew with the last migration
    that comes before a deploy. A schema that a later release has migrated further stays as it is.

    Args:
        connection: To the database, outside of a transaction. What is made belongs to its role.
        source: The SQL.
        schema: Made where it is missing; the search path of all that runs.
        closing: Runs at the end of each transaction: what must be true when others see its work.
        lock_timeout_s: A migration gives up rather than let others queue behind it for longer.
        timeout_s: Bounds each migration, and the wait for another migrator.

    Returns:
        The version that the schema now has.

    Raises:
        MigrationError: A recorded checksum differs.
        asyncpg.PostgresError: A migration failed; it left nothing, and those before it stay.
    """
    async with locked(connection, Lock.MIGRATION, schema, timeout_s=timeout_s):
        applied = await _applied(connection, schema, timeout_s)
        for script, versions in _pending(source, applied, schema):
            try:
                async with connection.transaction():
                    await _set_local(connection, schema, lock_timeout_s)
                    await connection.execute(_UNCHECKED + script, timeout=timeout_s)
                    await _record(connection, versions, timeout_s)
                    if closing is not None:
                        await closing()
            except Exception as error:
                error.add_note(f"in migration {versions[-1].version} {versions[-1].name}")
                raise
            applied |= {one.version: one.checksum for one in versions}
        return max(applied, default=0)


def _pending(
    source: SchemaSource, applied: dict[int, bytes], schema: str
) -> list[tuple[str, Sequence[Migration]]]:
    """List what is to be run, each script with the versions that it brings.

    Raises:
        MigrationError: A recorded checksum differs.
    """
    if not applied:
        return [(source.baseline.sql, [source.baseline, *source.migrations])]
    scripts: list[tuple[str, Sequence[Migration]]] = []
    for migration in source.migrations:
        if migration.version not in applied:
            scripts.append((source.script(migration), [migration]))
        elif applied[migration.version] != migration.checksum:
            raise MigrationError(
                f"migration {migration.version} of {schema} was changed after it was applied"
            )
    return scripts


async def _applied(connection: Connection, schema: str, timeout_s: float) -> dict[int, bytes]:
    """Read the checksum of each version that the schema has. Make a missing schema, empty."""
    async with connection.transaction():
        await execute_formatted(
            connection, "CREATE SCHEMA IF NOT EXISTS %I", schema, timeout_s=timeout_s
        )
        await _set_local(connection, schema, timeout_s)
        await connection.execute(_SCHEMA_MIGRATIONS, timeout=timeout_s)
        rows = await connection.fetch(_QUERIES["applied"], timeout=timeout_s)
    return {row["version"]: row["checksum"] for row in rows}


async def _record(connection: Connection, versions: Sequence[Migration], timeout_s: float) -> None:
    await connection.executemany(
        _QUERIES["record"],
        [(one.version, one.name, one.checksum) for one in versions],
        timeout=timeout_s,
    )


async def _set_local(connection: Connection, schema: str, lock_timeout_s: float) -> None:
    await connection.execute(_QUERIES["set_schema"], schema, f"{round(lock_timeout_s * 1000)}ms")
