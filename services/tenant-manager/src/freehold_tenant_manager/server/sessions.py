"""Sessions of tenants' roles: keeps roles out of a database, and ends their sessions.

A session that was connecting while the database was closed appears a little later, so one look
that finds no session is not enough.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from freehold.database.queries import load_queries, load_script
from freehold.ledger.client import Connection
from freehold_tenant_manager.contracts.credentials import Service
from freehold_tenant_manager.server.roles import role_settings
from freehold_tenant_manager.server.statements import (
    TENANT_MEMBERSHIP,
    TENANT_MEMBERSHIP_ENDED,
    TENANT_OPENING,
    execute_formatted,
    execute_with,
)

_PACKAGE = "freehold_tenant_manager.server"
_QUERIES = load_queries(_PACKAGE, "queries.sql")
_FENCE = load_script(_PACKAGE, "sql/tenant_fence.sql")

_PAUSE_S = 0.05
_LOOKS = 2
_TIMEOUT_S = 30.0
_FENCE_S = 10.0


async def until_empty(look: Callable[[], Awaitable[bool]], *, timeout_s: float) -> None:
    """Look again and again until two looks in a row found no session.

    Args:
        look: Says whether there is no session, and ends those that there are.
        timeout_s: Bounds all looks together.

    Raises:
        TimeoutError: Some sessions do not end.
    """
    async with asyncio.timeout(timeout_s):
        looks = 0
        while looks < _LOOKS:
            await asyncio.sleep(_PAUSE_S)
            looks = looks + 1 if await look() else 0


async def keep_out(connection: Connection, name: str, services: Sequence[Service]) -> None:
    """Keep some of a tenant's roles out of the database, and end their sessions there.

    Raises:
        TimeoutError: Some sessions do not end.
    """
    settings = role_settings(name, services)
    await execute_with(connection, TENANT_MEMBERSHIP, settings)

    async def is_empty() -> bool:
        if not await are_in(connection, name, services):
            return True
        await execute_with(connection, _FENCE, settings)
        return False

    await execute_with(connection, _FENCE, settings)
    await until_empty(is_empty, timeout_s=_FENCE_S)
    await execute_with(connection, TENANT_MEMBERSHIP_ENDED, settings)


async def are_in(connection: Connection, name: str, services: Sequence[Service]) -> bool:
    """Say whether some of a tenant's roles have sessions in the database."""
    found: bool = await connection.fetchval(
        _QUERIES["are_in"], name, [f"{name}_{service}" for service in services], timeout=_TIMEOUT_S
    )
    return found


async def let_in(connection: Connection, name: str, services: Sequence[Service]) -> None:
    """Let roles in again that were kept out."""
    script = TENANT_MEMBERSHIP + TENANT_OPENING + TENANT_MEMBERSHIP_ENDED
    await execute_with(connection, script, role_settings(name, services))


@asynccontextmanager
async def entitled_to_end(connection: Connection, roles: Sequence[str]) -> AsyncIterator[None]:
    """Have the rights to see and to end the sessions of some roles, for a transaction.

    The server's bootstrap gives both rights for all roles. Where it could not, our role is a
    member of these roles meanwhile.
    """
    async with connection.transaction():
        for_all: bool = await connection.fetchval(_QUERIES["may_end_all"], timeout=_TIMEOUT_S)
        joined = [] if for_all else roles
        for role in joined:
            await execute_formatted(connection, "GRANT %I TO CURRENT_USER", role)
        yield
        for role in joined:
            await execute_formatted(connection, "REVOKE %I FROM CURRENT_USER", role)


async def end_sessions(
    connection: Connection, roles: Sequence[str], *, only_changing: bool = False, wait_s: float = 0
) -> Sequence[bool]:
    """End the sessions of some roles; give for each whether it ended. Needs the right to do so.

    Args:
        connection: To any database of the server.
        roles: The roles.
        only_changing: Leave those without uncommitted changes.
        wait_s: How long to wait for the end of each; 0: it counts as ended once it is asked to.
    """
    rows = await connection.fetch(
        _QUERIES["end_sessions"], roles, only_changing, round(wait_s * 1000), timeout=_TIMEOUT_S
    )
    return [row["is_ended"] for row in rows]
