"""Scratch databases: made for a short time to restore a dump on trial; only we may enter them.

The operation's state has its name. After a crash the worker that continues drops it, or the sweep.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection
from freehold_tenant_manager.server.roles import role_settings
from freehold_tenant_manager.server.server import Server
from freehold_tenant_manager.server.statements import (
    TENANT_MEMBERSHIP,
    TENANT_ROLES_DROPPED,
    create_database,
    drop_database,
    execute_formatted,
    execute_with,
)

_QUERIES = load_queries("freehold_tenant_manager.dumps", "queries.sql")

_PREFIX = "fh_scratch_"
_TIMEOUT_S = 60.0


def new_scratch_name() -> str:
    """Choose a name, to be saved before the database is made."""
    return f"{_PREFIX}{secrets.token_hex(8)}"


@asynccontextmanager
async def scratch_database(server: Server, name: str) -> AsyncIterator[str]:
    """Make an empty database within a context; yields its owner, a role without login.

    A database of that name is dropped first.
    """
    owner = f"{name}_owner"
    async with server.catalog() as connection:
        await drop_scratch(connection, name)
        await execute_formatted(connection, "CREATE ROLE %I NOLOGIN", owner, timeout_s=_TIMEOUT_S)
        settings = role_settings(name)
        await execute_with(connection, TENANT_MEMBERSHIP, settings, timeout_s=_TIMEOUT_S)
        # Open to PUBLIC until that right is revoked, while it is still empty.
        await create_database(connection, name, owner, timeout_s=_TIMEOUT_S)
        await execute_formatted(
            connection, "REVOKE ALL ON DATABASE %I FROM PUBLIC", name, timeout_s=_TIMEOUT_S
        )
    try:
        yield owner
    finally:
        async with server.catalog() as connection:
            await drop_scratch(connection, name)


async def drop_scratch(connection: Connection, name: str) -> None:
    """Drop a scratch database and its owner, if they exist."""
    settings = role_settings(name)
    await execute_with(connection, TENANT_MEMBERSHIP, settings, timeout_s=_TIMEOUT_S)
    await drop_database(connection, name, timeout_s=_TIMEOUT_S)
    await execute_with(connection, TENANT_ROLES_DROPPED, settings, timeout_s=_TIMEOUT_S)


async def sweep_scratch(connection: Connection) -> int:
    """Drop the scratch databases of operations that are over; give their number."""
    rows = await connection.fetch(_QUERIES["list_scratch"], _PREFIX, timeout=_TIMEOUT_S)
    for row in rows:
        await drop_scratch(connection, row["datname"])
    return len(rows)
