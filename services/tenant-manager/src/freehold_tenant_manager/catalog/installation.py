"""The catalog's row about itself: its storage's id, and its last shipped version."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection

_QUERIES = load_queries("freehold_tenant_manager.catalog", "queries.sql")


@dataclass(frozen=True, slots=True)
class Installation:
    """The row; `behind_s` is the age of the oldest unshipped change, in seconds."""

    storage_id: UUID | None
    is_storage_marked: bool
    shipped_version: int
    shipped_at: datetime | None
    recovered_version: int | None
    behind_s: float
    since_shipped_s: float | None


async def read_installation(connection: Connection) -> Installation:
    """Read the row."""
    (row,) = await connection.fetch(_QUERIES["read_installation"])
    return Installation(**row)


async def has_data_keys(connection: Connection) -> bool:
    """Say whether any tenant has ever had data in the storage."""
    return bool(await connection.fetchval(_QUERIES["has_data_keys"]))


async def save_storage(connection: Connection, storage_id: UUID) -> UUID:
    """Save the storage's id, unless there is one already; return the saved one."""
    saved: UUID = await connection.fetchval(_QUERIES["save_storage"], storage_id)
    return saved


async def save_storage_marked(connection: Connection) -> None:
    """Record that the storage is marked: from now on a storage without the mark is foreign."""
    await connection.execute(_QUERIES["save_storage_marked"])


async def list_unshipped(connection: Connection) -> list[int]:
    """List the visible changes that no stored version contains."""
    rows = await connection.fetch(_QUERIES["list_unshipped"])
    return [row["change_id"] for row in rows]


async def save_shipped(
    connection: Connection, version: int, taken_at: datetime, changes: list[int]
) -> None:
    """Record that a stored version contains these changes."""
    async with connection.transaction():
        await connection.execute(_QUERIES["forget_shipped"], changes)
        await connection.execute(_QUERIES["save_shipped"], version, taken_at)
