"""The pool in the catalog: databases that belong to no tenant yet, and their roles' passwords.

A row is there before its database is begun and until after it is gone, so nothing is ever lost
sight of. Whoever claims one holds its row locked until the tenant has it.
"""

from dataclasses import dataclass

from freehold.ledger.client import Connection
from freehold_tenant_manager.catalog.credentials import Credential


@dataclass(frozen=True, slots=True)
class PoolState:
    """How the pool of a cluster stands."""

    ready: int
    """Those that this release hands out."""
    to_drop: int
    """Those that nobody will be given."""


async def read_pool(
    connection: Connection, cluster: str, made_as: str, *, stale_s: float
) -> PoolState:
    """Say how the pool stands.

    Args:
        connection: To the catalog.
        cluster: Where the databases are.
        made_as: What this release hands out.
        stale_s: For so long, databases of other releases are left to those.
    """
    row = await connection.fetchrow(
        "SELECT count(*) FILTER (WHERE is_ready AND made_as = $2) AS ready,"
        " count(*) FILTER (WHERE NOT is_ready OR made_as <> $2"
        "  AND noted_at < now() - make_interval(secs => $3)) AS to_drop"
        " FROM pool_databases WHERE cluster = $1",
        cluster,
        made_as,
        stale_s,
    )
    return PoolState(ready=row["ready"], to_drop=row["to_drop"]) if row else PoolState(0, 0)


async def add_to_pool(
    connection: Connection,
    name: str,
    cluster: str,
    made_as: str,
    credentials: list[Credential],
) -> None:
    """Write down that a database is to be made, and its roles' passwords."""
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO pool_databases (database_name, cluster, made_as) VALUES ($1, $2, $3)",
            name,
            cluster,
            made_as,
        )
        await connection.executemany(
            "INSERT INTO pool_credentials"
            " (database_name, service, role_name, sealing_key_id, sealed_password)"
            " VALUES ($1, $2, $3, $4, $5)",
            [(name, *credential) for credential in credentials],
        )


async def show_in_pool(connection: Connection, name: str) -> None:
    """Let a database be handed out from now on."""
    await connection.execute(
        "UPDATE pool_databases SET is_ready = true, noted_at = now() WHERE database_name = $1",
        name,
    )


async def claim_from_pool(connection: Connection, cluster: str, made_as: str) -> str | None:
    """Choose a database for a tenant, in a transaction; None where none is ready.

    Others choose among the rest meanwhile. The names are random, so none says when it was made.
    """
    name: str | None = await connection.fetchval(
        "SELECT database_name FROM pool_databases"
        " WHERE cluster = $1 AND made_as = $2 AND is_ready"
        " ORDER BY database_name LIMIT 1 FOR UPDATE SKIP LOCKED",
        cluster,
        made_as,
    )
    return name


async def hand_over(connection: Connection, name: str, tenant_id: str) -> None:
    """Give a claimed database's passwords to its tenant, and take it out of the pool."""
    await connection.execute(
        "INSERT INTO tenant_credentials"
        " (tenant_id, service, role_name, sealing_key_id, sealed_password)"
        " SELECT $2, service, role_name, sealing_key_id, sealed_password"
        " FROM pool_credentials WHERE database_name = $1",
        name,
        tenant_id,
    )
    await forget_in_pool(connection, name)


async def retire_from_pool(
    connection: Connection, cluster: str, made_as: str, *, stale_s: float
) -> list[str]:
    """Hand no stale database out any more; list all that are to be dropped."""
    await connection.execute(
        "UPDATE pool_databases SET is_ready = false WHERE cluster = $1 AND is_ready"
        " AND made_as <> $2 AND noted_at < now() - make_interval(secs => $3)",
        cluster,
        made_as,
        stale_s,
    )
    rows = await connection.fetch(
        "SELECT database_name FROM pool_databases WHERE cluster = $1 AND NOT is_ready", cluster
    )
    return [row["database_name"] for row in rows]


async def forget_in_pool(connection: Connection, name: str) -> None:
    """Take a database out of the pool: it is somebody's by now, or gone."""
    await connection.execute("DELETE FROM pool_databases WHERE database_name = $1", name)
