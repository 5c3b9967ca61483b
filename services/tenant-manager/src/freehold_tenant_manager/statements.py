"""SQL that tenant-manager runs, read from its files, and names quoted by the server itself."""

from importlib.resources import files

import asyncpg

from freehold.ledger.client import Connection
from freehold.ledger.schema import load_migrations

_PACKAGE = files("freehold_tenant_manager")


def _read(name: str) -> str:
    return (_PACKAGE / name).read_text(encoding="utf-8")


CATALOG_MIGRATIONS = load_migrations(_PACKAGE / "catalog" / "migrations")
CATALOG_GRANTS = _read("catalog/grants.sql")
SERVICE_LOGIN = _read("catalog/service_login.sql")
SCHEMA_MIGRATIONS = _read("sql/schema_migrations.sql")
TENANT_ROLES = _read("sql/tenant_roles.sql")
TENANT_LOCKOUT = _read("sql/tenant_lockout.sql")
TENANT_OPENING = _read("sql/tenant_opening.sql")
TENANT_HANDOVER = _read("sql/tenant_handover.sql")
TENANT_ROLES_DROPPED = _read("sql/tenant_roles_dropped.sql")
TENANT_RIGHTS_REVOKED = _read("sql/tenant_rights_revoked.sql")
TENANT_MEMBERSHIP = _read("sql/tenant_membership.sql")
TENANT_LOGIN_MEMBERSHIP = _read("sql/tenant_login_membership.sql")
TENANT_MEMBERSHIP_ENDED = _read("sql/tenant_membership_ended.sql")
TENANT_FENCE = _read("sql/tenant_fence.sql")
TENANT_UNFENCE = _read("sql/tenant_unfence.sql")
TEMPLATE_OWNER = _read("sql/template_owner.sql")

# C collation: the order of text is the same on every machine and never changes with an upgrade.
NEW_DATABASE = (
    "CREATE DATABASE %I TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER libc LOCALE 'C'"
)
# Open to PUBLIC until that is revoked, while it is still empty.
NEW_OWNED_DATABASE = (
    "CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER libc LOCALE 'C'"
)
# Closed until PUBLIC's rights are taken away (tenant_opening.sql). Through the write-ahead log, a
# small database is copied in half the time that copying its files takes.
NEW_TENANT_DATABASE = (
    "CREATE DATABASE %I OWNER %I TEMPLATE %I STRATEGY wal_log ALLOW_CONNECTIONS false"
)
# For a dump to be restored into.
NEW_EMPTY_DATABASE = (
    "CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER libc"
    " LOCALE 'C' ALLOW_CONNECTIONS false"
)


async def execute_formatted(
    connection: Connection, template: str, *names: str, timeout_s: float
) -> None:
    """Run a statement that takes no parameters, with names put in by the server's format().

    Args:
        connection: Where it runs.
        template: As format() takes it: %I stands for a name, %L for a text.
        names: What is put in.
        timeout_s: Bounds it.
    """
    statement: str = await connection.fetchval(
        "SELECT format($1, VARIADIC $2::text[])", template, list(names), timeout=timeout_s
    )
    await connection.execute(statement, timeout=timeout_s)


async def drop_database(connection: Connection, name: str, *, timeout_s: float) -> None:
    """Drop a database, if it exists, whoever may be connected to it.

    Raises:
        asyncpg.ObjectInUseError: Somebody stays connected whom we may not end.
    """
    try:
        await execute_formatted(
            connection, "DROP DATABASE IF EXISTS %I WITH (FORCE)", name, timeout_s=timeout_s
        )
    except asyncpg.InsufficientPrivilegeError:
        # Autovacuum is at work there: only a superuser may end it, but it makes way for a plain
        # drop, which in turn ends nobody else.
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = $1 AND backend_type = 'client backend'"
            " AND pg_has_role(usename, 'USAGE')",
            name,
            timeout=timeout_s,
        )
        await execute_formatted(connection, "DROP DATABASE IF EXISTS %I", name, timeout_s=timeout_s)


async def execute_with(
    connection: Connection, script: str, settings: dict[str, str], *, timeout_s: float
) -> None:
    """Run a script in a transaction, with settings that it reads with current_setting().

    They are bound, never pasted, and last until the transaction ends.
    """
    async with connection.transaction():
        await connection.execute(
            "SELECT set_config(name, value, true)"
            " FROM unnest($1::text[], $2::text[]) AS settings (name, value)",
            list(settings),
            list(settings.values()),
            timeout=timeout_s,
        )
        await connection.execute(script, timeout=timeout_s)
