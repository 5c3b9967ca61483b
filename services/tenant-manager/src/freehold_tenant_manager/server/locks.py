"""Advisory locks, for work that only one replica may do at a time.

A lock belongs to the connection that does the work. The lock of a crashed process ends with its
connection, when the server has stopped working for it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum

import asyncpg

from freehold.ledger.client import Connection

_LOCK_TIMEOUT_S = 30.0
_UNLOCK_TIMEOUT_S = 5.0


class Lock(IntEnum):
    """What is locked: the first half of an advisory lock's key."""

    SETUP = 0x46480001
    MIGRATION = 0x46480002
    TEMPLATE = 0x46480003
    TENANT = 0x46480004
    POOL = 0x46480005
    SHIPPING = 0x46480006


@asynccontextmanager
async def locked(
    connection: Connection, lock: Lock, name: str = "", *, timeout_s: float = _LOCK_TIMEOUT_S
) -> AsyncIterator[None]:
    """Hold a lock of this connection's database for a while.

    Two names may share a lock by chance, which only costs a wait.

    Raises:
        TimeoutError: It was not free in time.
    """
    await connection.execute(
        "SELECT pg_advisory_lock($1, hashtext($2))", lock, name, timeout=timeout_s
    )
    try:
        yield
    finally:
        await _unlock(connection, lock, name)


@asynccontextmanager
async def locked_if_free(connection: Connection, lock: Lock, name: str = "") -> AsyncIterator[bool]:
    """Hold a lock for a while if it is free; yield whether it is held."""
    held: bool = await connection.fetchval(
        "SELECT pg_try_advisory_lock($1, hashtext($2))", lock, name, timeout=_LOCK_TIMEOUT_S
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
        # The lock must not outlive its holder, whatever the fault is.
        connection.terminate()
