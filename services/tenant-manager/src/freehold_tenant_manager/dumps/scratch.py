"""Scratch databases: empty, for a while, to restore a dump on trial. Nobody else may enter them.

One that a crash left is dropped by whoever goes on with the operation that noted its name, or by
the sweep.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from freehold.ledger.client import Connection
from freehold_tenant_manager.provisioning.roles import role_settings
from freehold_tenant_manager.server import Server
from freehold_tenant_manager.statements import (
    NEW_OWNED_DATABASE,
    TENANT_MEMBERSHIP,
    TENANT_ROLES_DROPPED,
    drop_database,
    execute_formatted,
    execute_with,
)

_PREFIX = "fh_scratch_"
_TIMEOUT_S = 60.0


def new_scratch_name() -> str:
    """Make up a name, to be noted before the database is made."""
    return f"{_PREFIX}{secrets.token_hex(8)}"


@asynccontextmanager
async def scratch_database(server: Server, catalog_name: str, name: str) -> AsyncIterator[str]:
    """Have an empty database for a while; yields the role that owns it, who cannot log in.

    Args:
        server: Where it is made.
        catalog_name: A database of it to make it from.
        name: Its name. What has this name already is dropped first.
    """
    owner = f"{name}_owner"
    async with server.connection(catalog_name) as connection:
        await drop_scratch(connection, name)
        await execute_formatted(connection, "CREATE ROLE %I NOLOGIN", owner, timeout_s=_TIMEOUT_S)
        settings = role_settings(name)
        await execute_with(connection, TENANT_MEMBERSHIP, settings, timeout_s=_TIMEOUT_S)
        await execute_formatted(connection, NEW_OWNED_DATABASE, name, owner, timeout_s=_TIMEOUT_S)
        await execute_formatted(
            connection, "REVOKE ALL ON DATABASE %I FROM PUBLIC", name, timeout_s=_TIMEOUT_S
        )
    try:
        yield owner
    finally:
        async with server.connection(catalog_name) as connection:
            await drop_scratch(connection, name)


async def drop_scratch(connection: Connection, name: str) -> None:
    """Drop a scratch database and its owner, as far as they exist."""
    settings = role_settings(name)
    await execute_with(connection, TENANT_MEMBERSHIP, settings, timeout_s=_TIMEOUT_S)
    await drop_database(connection, name, timeout_s=_TIMEOUT_S)
    await execute_with(connection, TENANT_ROLES_DROPPED, settings, timeout_s=_TIMEOUT_S)


async def sweep_scratch(connection: Connection) -> int:
    """Drop the scratch databases of operations that have ended; answer how many there were."""
    rows = await connection.fetch(
        "SELECT d.datname FROM pg_database AS d"
        " WHERE starts_with(d.datname, $1) AND pg_has_role(current_user, d.datdba, 'MEMBER')"
        " AND EXISTS (SELECT FROM operations AS o WHERE o.state ->> 'scratch' = d.datname"
        "  AND o.status IN ('succeeded', 'failed'))",
        _PREFIX,
        timeout=_TIMEOUT_S,
    )
    for row in rows:
        await drop_scratch(connection, row["datname"])
    return len(rows)
