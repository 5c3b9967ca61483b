"""Sessions that wait for a lock, seen from any connection to the same database."""

from functools import partial

from freehold.ledger.client import Connection
from support.waiting import eventually


async def waiting_for_a_lock(connection: Connection) -> list[int]:
    """List the backends in this connection's database that wait for a lock, by process id."""
    # A transaction goes on seeing what it saw at first (PostgreSQL, 27.2.2).
    await connection.execute("SELECT pg_stat_clear_snapshot()")
    rows = await connection.fetch(
        "SELECT pid FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return [row["pid"] for row in rows]


async def until_one_waits(connection: Connection) -> None:
    """Wait until a session in this connection's database waits for a lock."""
    await eventually(partial(waiting_for_a_lock, connection), "a session waits for a lock")


async def end_waiting_sessions(connection: Connection) -> None:
    """End the sessions in this connection's database that wait for a lock."""
    waiting = await waiting_for_a_lock(connection)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM unnest($1::int []) AS pid", waiting
    )
