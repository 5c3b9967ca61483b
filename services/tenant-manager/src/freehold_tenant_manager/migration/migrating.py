"""The migration runner, the only one: for the catalog and for every ledger.

Forward only. What was applied is recorded with its checksum, in the schema that it made, so a
database says by itself which version it has and an edited migration is refused.
"""

from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256

from freehold.ledger.client import Connection
from freehold.ledger.schema import Migration
from freehold_tenant_manager.locks import Lock, locked
from freehold_tenant_manager.statements import SCHEMA_MIGRATIONS, execute_formatted


class MigrationError(Exception):
    """A migration was changed after it had been applied."""


async def migrate(
    connection: Connection,
    migrations: Sequence[Migration],
    schema: str,
    *,
    closing: Callable[[], Awaitable[None]] | None = None,
    lock_timeout_s: float = 5.0,
    timeout_s: float = 600.0,
) -> int:
    """Apply the migrations that a schema does not have yet, each in a transaction of its own.

    What they make belongs to the connection's current role. A schema that a later release has
    migrated further stays as it is.

    Args:
        connection: To the database, outside of a transaction.
        migrations: All of them, in order of version.
        schema: Made where it is missing; the search path of every migration.
        closing: What else must be true when others see a migration: run in its transaction, at
            the end.
        lock_timeout_s: A migration gives up rather than let others queue behind it for longer.
        timeout_s: Bounds every single migration, and the wait for another runner.

    Returns:
        The version that the schema now has.

    Raises:
        MigrationError: A recorded checksum differs.
        asyncpg.PostgresError: A migration failed; it left nothing, and those before it stay.
    """
    async with locked(connection, Lock.MIGRATION, schema, timeout_s=timeout_s):
        applied = await _applied(connection, schema, timeout_s)
        for migration in migrations:
            checksum = sha256(migration.sql.encode()).digest()
            if applied.setdefault(migration.version, b"") == b"":
                try:
                    await _apply(
                        connection, migration, schema, checksum, closing, lock_timeout_s, timeout_s
                    )
                except Exception as error:
                    error.add_note(f"in migration {migration.version} {migration.name}")
                    raise
            elif applied[migration.version] != checksum:
                raise MigrationError(
                    f"migration {migration.version} of {schema} was changed after it was applied"
                )
        return max(applied, default=0)


async def _applied(connection: Connection, schema: str, timeout_s: float) -> dict[int, bytes]:
    """Read which versions the schema has, and the checksum of each; make what is missing for it."""
    async with connection.transaction():
        exists: bool = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema, timeout=timeout_s
        )
        if not exists:
            await execute_formatted(connection, "CREATE SCHEMA %I", schema, timeout_s=timeout_s)
        await _set_local(connection, schema, timeout_s)
        await connection.execute(SCHEMA_MIGRATIONS, timeout=timeout_s)
        rows = await connection.fetch(
            "SELECT version, checksum FROM schema_migrations ORDER BY version", timeout=timeout_s
        )
    return {row["version"]: row["checksum"] for row in rows}


async def _apply(
    connection: Connection,
    migration: Migration,
    schema: str,
    checksum: bytes,
    closing: Callable[[], Awaitable[None]] | None,
    lock_timeout_s: float,
    timeout_s: float,
) -> None:
    async with connection.transaction():
        await _set_local(connection, schema, lock_timeout_s)
        await connection.execute(migration.sql, timeout=timeout_s)
        await connection.execute(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)",
            migration.version,
            migration.name,
            checksum,
            timeout=timeout_s,
        )
        if closing is not None:
            await closing()


async def _set_local(connection: Connection, schema: str, lock_timeout_s: float) -> None:
    """Set, for this transaction, where names are looked up and how long locks are waited for.

    pg_temp stands last, so that no temporary object can take the place of one of the schema's.
    """
    await connection.execute(
        "SELECT set_config('search_path', quote_ident($1) || ', pg_temp', true),"
        " set_config('lock_timeout', $2, true)",
        schema,
        f"{round(lock_timeout_s * 1000)}ms",
    )
