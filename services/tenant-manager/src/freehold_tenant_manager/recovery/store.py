"""A catalog that was loaded on a new server: adapted to what is true there.

The server was lost. So there are no databases, no operation runs, and the ledger of every living
tenant must be brought back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection

_QUERIES = load_queries("freehold_tenant_manager.recovery", "queries.sql")
_ADAPTATIONS = (
    *("forget_half_made_credentials", "forget_half_made", "mark_recovering"),
    # The audit log goes on before operations are failed in it.
    *("continue_operator_acts", "fail_operations"),
    *("requeue_deletions", "release_epochs", "schedule_reconciliations"),
)


@dataclass(frozen=True, slots=True)
class Occupation:
    """What a catalog already holds."""

    tenants: int
    pool_databases: int
    recovered_version: int | None


async def find_occupation(connection: Connection) -> Occupation | None:
    """Say what this database's catalog holds; None if there is no catalog."""
    if not await connection.fetchval("SELECT to_regclass('catalog.tenants') IS NOT NULL"):
        return None
    (row,) = await connection.fetch(_QUERIES["find_occupation"])
    return Occupation(**row)


async def adapt(connection: Connection, storage_id: UUID, version: int) -> list[str]:
    """Adapt a catalog in the transaction that loaded it; list the half-made tenants it forgets."""
    half_made = await connection.fetch(_QUERIES["list_half_made"])
    for name in _ADAPTATIONS:
        await connection.execute(_QUERIES[name])
    await connection.execute(_QUERIES["adopt_storage"], storage_id, version)
    return [row["tenant_id"] for row in half_made]


async def list_databases(connection: Connection) -> Sequence[str]:
    """List this server's databases that have the names of tenants' lost ones."""
    return [row["datname"] for row in await connection.fetch(_QUERIES["list_databases"])]


async def list_clusters(connection: Connection) -> Sequence[str]:
    """List the clusters that tenants live on."""
    return [row["cluster"] for row in await connection.fetch(_QUERIES["list_clusters"])]


async def list_recovering(connection: Connection) -> Sequence[str]:
    """List the tenants whose ledgers are still to be brought back."""
    return [row["tenant_id"] for row in await connection.fetch(_QUERIES["list_recovering"])]


async def list_known(connection: Connection) -> Sequence[str]:
    """List all tenants, also deleted ones."""
    return [row["tenant_id"] for row in await connection.fetch(_QUERIES["list_known"])]
