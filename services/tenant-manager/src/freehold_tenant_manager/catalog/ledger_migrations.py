"""How tenants' ledgers are migrated, in the catalog: a row a tenant, of the last time they were.

The row outlives the process at work on it. Whoever goes on with an operation gives every tenant who
was being worked on another turn: what is done to a ledger can be done again.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from freehold.contracts.migrations import Phase
from freehold.ledger.client import Connection, Record

MIGRATED = ("active", "suspended")
"""Tenants of these statuses have a ledger to migrate."""

# A row of an operation that has ended without coming to it says nothing of what is being done.
_STATUS = (
    "CASE WHEN m.status = 'failed' OR o.operation_id IS NOT NULL AND m.status <> 'succeeded'"
    " THEN m.status WHEN t.schema_version < $1 THEN 'behind' ELSE 'current' END"
)
_TENANTS = (
    "tenants AS t LEFT JOIN tenant_migrations AS m ON m.tenant_id = t.tenant_id"
    " LEFT JOIN operations AS o"
    " ON o.operation_id = m.operation_id AND o.status IN ('queued', 'running')"
    " WHERE t.status = ANY ($2::text[])"
)


@dataclass(frozen=True, slots=True)
class Turn:
    """A tenant's turn to be migrated: which attempt it is."""

    tenant_id: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Count:
    """How many tenants of an operation are in which status."""

    waiting: int
    running: int
    succeeded: int
    failed: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.waiting + self.running + self.succeeded + self.failed


async def find_strangers(connection: Connection, tenant_ids: list[str]) -> set[str]:
    """Say which of these ids are of no tenant with a ledger."""
    rows = await connection.fetch(
        "SELECT tenant_id FROM tenants WHERE tenant_id = ANY ($1) AND status = ANY ($2::text[])",
        tenant_ids,
        MIGRATED,
    )
    return set(tenant_ids) - {row["tenant_id"] for row in rows}


async def enlist_tenants(
    connection: Connection, operation_id: UUID, phase: Phase, tenant_ids: list[str] | None
) -> None:
    """Give every tenant of an operation a turn, unless they had it; None for all tenants."""
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO tenant_migrations AS m (tenant_id, operation_id, phase)"
            " SELECT tenant_id, $1, $2 FROM tenants"
            " WHERE status = ANY ($4::text[]) AND ($3::text[] IS NULL OR tenant_id = ANY ($3))"
            " ON CONFLICT ON CONSTRAINT tenant_migrations_pkey DO UPDATE"
            " SET operation_id = excluded.operation_id, phase = excluded.phase,"
            " status = 'waiting', attempts = 0, due_at = now(), error = NULL,"
            " started_at = NULL, finished_at = NULL"
            " WHERE m.operation_id <> excluded.operation_id",
            operation_id,
            phase,
            tenant_ids,
            MIGRATED,
        )
        await connection.execute(
            "UPDATE tenant_migrations SET status = 'waiting'"
            " WHERE operation_id = $1 AND status = 'running'",
            operation_id,
        )


async def claim_turn(connection: Connection, operation_id: UUID) -> Turn | None:
    """Take whoever's turn it is, and nobody else has taken; None where it is nobody's now."""
    row = await connection.fetchrow(
        "UPDATE tenant_migrations SET status = 'running', attempts = attempts + 1,"
        " started_at = coalesce(started_at, now())"
        " WHERE tenant_id = ("
        "  SELECT tenant_id FROM tenant_migrations"
        "  WHERE operation_id = $1 AND status = 'waiting' AND due_at <= now()"
        "  ORDER BY due_at, tenant_id LIMIT 1 FOR UPDATE SKIP LOCKED"
        " ) RETURNING tenant_id, attempts",
        operation_id,
    )
    return None if row is None else Turn(**row)


async def put_turn_off(
    connection: Connection, operation_id: UUID, turn: Turn, *, pause_s: float, error: str
) -> None:
    """Have a tenant's turn come again after a pause.

    Args:
        connection: To the catalog.
        operation_id: Whose turn it is.
        turn: As it counts: with fewer attempts than it was taken with where nothing was tried.
        pause_s: How long it does not come.
        error: Why.
    """
    await connection.execute(
        "UPDATE tenant_migrations SET status = 'waiting', attempts = $3,"
        " due_at = now() + make_interval(secs => $4), error = $5"
        " WHERE operation_id = $1 AND tenant_id = $2",
        operation_id,
        turn.tenant_id,
        turn.attempts,
        pause_s,
        error,
    )


async def end_turn(
    connection: Connection, operation_id: UUID, tenant_id: str, *, error: str | None
) -> None:
    """Note that a tenant was migrated, or why that failed for good."""
    await connection.execute(
        "UPDATE tenant_migrations SET error = $3, finished_at = now(),"
        " status = CASE WHEN $3::text IS NULL THEN 'succeeded' ELSE 'failed' END"
        " WHERE operation_id = $1 AND tenant_id = $2",
        operation_id,
        tenant_id,
        error,
    )


async def strike_off(connection: Connection, operation_id: UUID, tenant_id: str) -> None:
    """Forget the turn of a tenant who has no ledger any more."""
    await connection.execute(
        "DELETE FROM tenant_migrations WHERE operation_id = $1 AND tenant_id = $2",
        operation_id,
        tenant_id,
    )


async def count_turns(connection: Connection, operation_id: UUID) -> Count:
    """Count an operation's tenants."""
    (row,) = await connection.fetch(
        "SELECT count(*) FILTER (WHERE status = 'waiting') AS waiting,"
        " count(*) FILTER (WHERE status = 'running') AS running,"
        " count(*) FILTER (WHERE status = 'succeeded') AS succeeded,"
        " count(*) FILTER (WHERE status = 'failed') AS failed"
        " FROM tenant_migrations WHERE operation_id = $1",
        operation_id,
    )
    return Count(**row)


async def list_failed(connection: Connection, operation_id: UUID, rows_max: int) -> list[str]:
    """List the first of an operation's tenants who could not be migrated."""
    rows = await connection.fetch(
        "SELECT tenant_id FROM tenant_migrations WHERE operation_id = $1 AND status = 'failed'"
        " ORDER BY tenant_id LIMIT $2",
        operation_id,
        rows_max,
    )
    return [row["tenant_id"] for row in rows]


async def is_worked_on(connection: Connection, tenant_id: str) -> bool:
    """Say whether an operation of a tenant's own is under way."""
    worked_on: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM operations WHERE tenant_id = $1 AND status = 'running')",
        tenant_id,
    )
    return worked_on


async def require_services(connection: Connection, tenant_id: str, version: int) -> None:
    """Turn away services that do not know this version of the ledger, from now on."""
    await connection.execute(
        "UPDATE tenants SET services_version_min = $2"
        " WHERE tenant_id = $1 AND services_version_min < $2",
        tenant_id,
        version,
    )


async def record_version(
    connection: Connection, tenant_id: str, database_name: str, version: int
) -> bool:
    """Note what version a tenant's ledger has; answer whether that database is still theirs."""
    is_theirs: bool = await connection.fetchval(
        "WITH changed AS ("
        " UPDATE tenants SET schema_version = $3"
        " WHERE tenant_id = $1 AND database_name = $2 AND schema_version <> $3"
        ") SELECT EXISTS (SELECT FROM tenants WHERE tenant_id = $1 AND database_name = $2)",
        tenant_id,
        database_name,
        version,
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
    """List how far tenants are, in order of their ids, after a given one."""
    rows: list[Record] = await connection.fetch(
        "SELECT * FROM ("  # noqa: S608 (our own expressions)
        f" SELECT t.tenant_id, t.schema_version, {_STATUS} AS status, m.operation_id, m.phase,"
        " coalesce(m.attempts, 0) AS attempts, m.error, m.started_at, m.finished_at"
        f" FROM {_TENANTS} AND t.tenant_id > $3"
        ") AS listed WHERE $4::text IS NULL OR status = $4 ORDER BY tenant_id LIMIT $5",
        ledger_version,
        MIGRATED,
        after or "",
        status,
        rows_max,
    )
    return [dict(row) for row in rows]


async def count_versions(connection: Connection) -> list[dict[str, int]]:
    """Count the tenants whose ledgers have each version, the lowest first."""
    rows = await connection.fetch(
        "SELECT schema_version, count(*) AS tenants FROM tenants"
        " WHERE status = ANY ($1::text[]) GROUP BY schema_version ORDER BY schema_version",
        MIGRATED,
    )
    return [dict(row) for row in rows]


async def count_statuses(connection: Connection, ledger_version: int) -> dict[str, int]:
    """Count the tenants in each status."""
    rows = await connection.fetch(
        f"SELECT {_STATUS} AS status, count(*) AS tenants FROM {_TENANTS}"  # noqa: S608
        " GROUP BY 1",
        ledger_version,
        MIGRATED,
    )
    return {row["status"]: row["tenants"] for row in rows}
