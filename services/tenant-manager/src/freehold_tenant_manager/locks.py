"""Advisory locks: what only one of all replicas may do at a time.

A lock belongs to the connection that does the work, so it lasts exactly as long as the server works
on it: a crashed process is out of the way once its connection is gone, and not before.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum

import asyncpg

from freehold.ledger.client import Connection

_UNLOCK_TIMEOUT_S = 5.0


class Lock(IntEnum):
    """What is locked: the first half of an advisory lock's key, unlikely to be anyone else's."""

    SETUP = 0x46480001
    MIGRATION = 0x46480002
    TEMPLATE = 0x46480003
    TENANT = 0x46480004
    POOL = 0x46480005


@asynccontextmanager
async def locked(
    connection: Connection, lock: Lock, name: str = "", *, timeout_s: float
) -> AsyncIterator[None]:
    """Hold a lock of this connection's database for a while.

    Two names may by chance share a lock, which costs a wait and nothing else.

    Raises:
        TimeoutError: It did not come free in time.
    """
    await connection.execute(
        "SELECT pg_advisory_lock($1, hashtext($2))", lock, name, timeout=timeout_s
    )
    try:
        yield
    finally:
        await _unlock(connection, lock, name)


@asynccontextmanager
async def locked_if_free(
    connection: Connection, lock: Lock, name: str, *, timeout_s: float
) -> AsyncIterator[bool]:
    """Hold a lock for a while if nobody else does; yield whether it is held."""
    held: bool = await connection.fetchval(
        "SELECT pg_try_advisory_lock($1, hashtext($2))", lock, name, timeout=timeout_s
    )
    try:
        yield held
    finally:
        if held:
            await _unlock(connection, lock, name)


async def _unlock(connection: Connection, lock: Lock, name: str) -> None:
    try:
        await connection.execute(
            "SELECT pg_advisory_unlock($1, hashtext($2))", lock, name, timeout=_UNLOCK_TIMEOUT_S
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        # Whatever is the matter with it, the lock must not outlive its holder.
        connection.terminate()
