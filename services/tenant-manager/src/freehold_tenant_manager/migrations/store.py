"""Migrations of tenants' ledgers in the catalog: one row per tenant, of its last migration.

The row outlives the process that works on it. A process that continues an operation gives every
tenant that was being migrated another turn: a migration can be repeated.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection, Record
from freehold.ledger.schema import Phase

_QUERIES = load_queries("freehold_tenant_manager.migrations", "queries.sql")

MIGRATED = ("active", "suspended")
"""The statuses of tenants that have a ledger to migrate."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A tenant's turn to be migrated, and the number of the attempt."""

    tenant_id: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Count:
    """The number of an operation's tenants in each status."""

    waiting: int
    running: int
    succeeded: int
    failed: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.waiting + self.running + self.succeeded + self.failed


async def find_strangers(connection: Connection, tenant_ids: list[str]) -> set[str]:
    """Give those of the ids that no tenant with a ledger has."""
    rows = await connection.fetch(_QUERIES["find_migrated"], tenant_ids)
    return set(tenant_ids) - {row["tenant_id"] for row in rows}


async def enlist_tenants(
    connection: Connection, operation_id: UUID, phase: Phase, tenant_ids: list[str] | None
) -> None:
    """Give every tenant of an operation a turn, unless it had one; None for all tenants."""
    async with connection.transaction():
        await connection.execute(_QUERIES["enlist"], operation_id, phase, tenant_ids)
        await connection.execute(_QUERIES["wait_again"], operation_id)


async def claim_turn(connection: Connection, operation_id: UUID) -> Turn | None:
    """Take a turn that is due; None if there is none now."""
    row = await connection.fetchrow(_QUERIES["claim"], operation_id)
    return None if row is None else Turn(**row)


async def put_turn_off(
    connection: Connection, operation_id: UUID, turn: Turn, *, pause_s: float, error: str
) -> None:
    """Put a tenant's turn off. If nothing was tried, `turn` has one attempt fewer than before."""
    await connection.execute(
        _QUERIES["put_off"], operation_id, turn.tenant_id, turn.attempts, pause_s, error
    )


async def end_turn(
    connection: Connection, operation_id: UUID, tenant_id: str, *, error: str | None
) -> None:
    """Record that a tenant was migrated, or why that failed for good."""
    await connection.execute(_QUERIES["finish"], operation_id, tenant_id, error)


async def strike_off(connection: Connection, operation_id: UUID, tenant_id: str) -> None:
    """Delete the turn of a tenant that has no ledger any more."""
    await connection.execute(_QUERIES["strike_off"], operation_id, tenant_id)


async def count_turns(connection: Connection, operation_id: UUID) -> Count:
    """Count an operation's tenants."""
    (row,) = await connection.fetch(_QUERIES["count_turns"], operation_id)
    return Count(**row)


async def list_failed(connection: Connection, operation_id: UUID, rows_max: int) -> list[str]:
    """List the first of an operation's tenants that could not be migrated."""
    rows = await connection.fetch(_QUERIES["list_failed"], operation_id, rows_max)
    return [row["tenant_id"] for row in rows]


async def is_worked_on(connection: Connection, tenant_id: str) -> bool:
    """Say whether another operation works on a tenant."""
    worked_on: bool = await connection.fetchval(_QUERIES["is_worked_on"], tenant_id)
    return worked_on


async def require_services(connection: Connection, tenant_id: str, version: int) -> None:
    """Have services refuse the tenant that do not know this version of the ledger."""
    await connection.execute(_QUERIES["require_services"], tenant_id, version)


async def record_version(
    connection: Connection, tenant_id: str, database_name: str, version: int
) -> bool:
    """Record a ledger's version; return whether the database is still the tenant's."""
    is_theirs: bool = await connection.fetchval(
        _QUERIES["record_version"], tenant_id, database_name, version
    )
    return is_theirs


async def list_tenant_migrations(
    connection: Connection,
    *,
    ledger_version: int,
    status: str | None,
    after: str | None,
    rows_max: int,
) -> list[dict[str, Any]]:
    """List tenants' migrations in order of their ids, after a given one."""
    rows: list[Record] = await connection.fetch(
        _QUERIES["list"], ledger_version, after or "", status, rows_max
    )
    return [dict(row) for row in rows]


async def count_versions(connection: Connection) -> list[dict[str, int]]:
    """Count the tenants whose ledgers have each version, the lowest first."""
    rows = await connection.fetch(_QUERIES["count_versions"])
    return [dict(row) for row in rows]


async def count_statuses(connection: Connection, ledger_version: int) -> dict[str, int]:
    """Count the tenants in each status."""
    rows = await connection.fetch(_QUERIES["count_statuses"], ledger_version)
    return {row["status"]: row["tenants"] for row in rows}
