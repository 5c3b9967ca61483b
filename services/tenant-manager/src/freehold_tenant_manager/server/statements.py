"""Statements and scripts on databases and roles, and how they get names and values.

Postgres itself quotes names and texts; nothing is pasted into a statement.
"""

from collections.abc import Mapping

import asyncpg

from freehold.database.queries import load_queries, load_script
from freehold.ledger.client import Connection

_PACKAGE = "freehold_tenant_manager.server"
_QUERIES = load_queries(_PACKAGE, "queries.sql")

STATEMENT_TIMEOUT_S = 30.0
"""The usual deadline of the functions below, for each statement."""

TENANT_ROLES = load_script(_PACKAGE, "sql/tenant_roles.sql")
CUSTOMER_BOUNDS = load_script(_PACKAGE, "sql/customer_bounds.sql")
TENANT_OPENING = load_script(_PACKAGE, "sql/tenant_opening.sql")
TENANT_ROLES_DROPPED = load_script(_PACKAGE, "sql/tenant_roles_dropped.sql")
TENANT_MEMBERSHIP = load_script(_PACKAGE, "sql/tenant_membership.sql")
TENANT_LOGIN_MEMBERSHIP = load_script(_PACKAGE, "sql/tenant_login_membership.sql")
TENANT_MEMBERSHIP_ENDED = load_script(_PACKAGE, "sql/tenant_membership_ended.sql")


async def execute_formatted(
    connection: Connection, template: str, *names: str, timeout_s: float = STATEMENT_TIMEOUT_S
) -> None:
    """Format a statement on the server and run it: %I stands for a name, %L for a text."""
    statement: str = await connection.fetchval(
        "SELECT format($1, VARIADIC $2::text[])", template, list(names), timeout=timeout_s
    )
    await connection.execute(statement, timeout=timeout_s)


async def database_exists(
    connection: Connection, name: str, *, timeout_s: float = STATEMENT_TIMEOUT_S
) -> bool:
    """Say whether the server has a database of this name."""
    exists: bool = await connection.fetchval(_QUERIES["database_exists"], name, timeout=timeout_s)
    return exists


async def create_database(
    connection: Connection,
    name: str,
    owner: str | None = None,
    *,
    is_open: bool = True,
    timeout_s: float = STATEMENT_TIMEOUT_S,
) -> None:
    """Make an empty database, owned by a role or by our own.

    Unless it `is_open`, it takes no connections before tenant_opening.sql opens it.

    Raises:
        asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError: It exists, or another process
            makes it at this moment.
    """
    statement: str = await connection.fetchval(
        _QUERIES["create_database"], name, owner, is_open, timeout=timeout_s
    )
    await connection.execute(statement, timeout=timeout_s)


async def drop_database(
    connection: Connection, name: str, *, timeout_s: float = STATEMENT_TIMEOUT_S
) -> None:
    """Drop a database, if it exists, although sessions are connected to it.

    Raises:
        asyncpg.ObjectInUseError: A session stays connected that we have no right to end.
    """
    try:
        await execute_formatted(
            connection, "DROP DATABASE IF EXISTS %I WITH (FORCE)", name, timeout_s=timeout_s
        )
    except asyncpg.InsufficientPrivilegeError:
        # Autovacuum is at work there. Only a superuser may end it, but it makes way for a plain
        # DROP, which ends no other sessions.
        await connection.execute(_QUERIES["end_sessions_in"], name, timeout=timeout_s)
        await execute_formatted(connection, "DROP DATABASE IF EXISTS %I", name, timeout_s=timeout_s)


async def execute_with(
    connection: Connection,
    script: str,
    settings: Mapping[str, str],
    *,
    timeout_s: float = STATEMENT_TIMEOUT_S,
) -> None:
    """Run a script in a transaction, with settings that it reads by current_setting().

    The settings are bound parameters and last until the transaction ends.
    """
    async with connection.transaction():
        await connection.execute(
            _QUERIES["set_locally"], list(settings), list(settings.values()), timeout=timeout_s
        )
        await connection.execute(script, timeout=timeout_s)
