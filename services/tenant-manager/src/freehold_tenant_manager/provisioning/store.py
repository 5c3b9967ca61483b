"""The pool in the catalog: databases without a tenant.

A row exists before its database is begun, and until after it is dropped or belongs to a tenant, so
no database is forgotten.
"""

from dataclasses import dataclass

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection

_QUERIES = load_queries("freehold_tenant_manager.provisioning", "queries.sql")


@dataclass(frozen=True, slots=True)
class PoolState:
    """Counts of a cluster's pool."""

    ready: int
    """Databases that this release hands out."""
    to_drop: int
    """Databases that are not handed out any more."""


async def read_pool(
    connection: Connection, cluster: str, made_as: str, *, stale_s: float
) -> PoolState:
    """Count the pool's databases; those of other releases are dropped at the age `stale_s`."""
    (row,) = await connection.fetch(_QUERIES["read"], cluster, made_as, stale_s)
    return PoolState(**row)


async def add_to_pool(connection: Connection, name: str, cluster: str, made_as: str) -> None:
    """Record a database that is about to be made."""
    await connection.execute(_QUERIES["add"], name, cluster, made_as)


async def show_in_pool(connection: Connection, name: str) -> None:
    """Record that a database is ready."""
    await connection.execute(_QUERIES["show"], name)


async def claim_from_pool(connection: Connection, cluster: str, made_as: str) -> str | None:
    """Take a database for a tenant out of the pool, in a transaction; None if none is ready."""
    name: str | None = await connection.fetchval(_QUERIES["claim"], cluster, made_as)
    return name


async def retire_from_pool(
    connection: Connection, cluster: str, made_as: str, *, stale_s: float
) -> list[str]:
    """Retire stale databases; list all that are to be dropped."""
    await connection.execute(_QUERIES["retire"], cluster, made_as, stale_s)
    rows = await connection.fetch(_QUERIES["list_retired"], cluster)
    return [row["database_name"] for row in rows]


async def forget_in_pool(connection: Connection, name: str) -> None:
    """Remove a database that is dropped from the pool, and its roles' passwords."""
    await connection.execute(_QUERIES["forget"], name)
