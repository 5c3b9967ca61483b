"""Tenants in the catalog. A tenant is `provisioning` until everything of theirs exists.

Services do not see them before, so an unfinished one can be undone without anybody missing it. A
deleted one keeps the row, and with it the id.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from freehold.contracts.problems import NOT_FOUND, TENANT_DELETED, Problem, unavailable
from freehold.contracts.tenants import NewTenant, Tenant, TenantHome, TenantLimits, TenantStatus
from freehold.ledger.client import Connection, Record
from freehold.ledger.schema import (
    LEDGER_MIGRATIONS,
    LEDGER_SCHEMA,
    LEDGER_VERSION,
    services_version_min,
)

_COLUMNS = (
    "tenant_id, name, region, isolation, status, created_at, epoch, cluster, database_name,"
    " schema_name, schema_version, ingest_events_per_s, ingest_requests_max,"
    " deleted_at"
)
# An empty ledger can wait, and those made together are not to be reconciled together.
_RECONCILED_FIRST_S = 300.0


@dataclass(frozen=True, slots=True)
class TenantRow:
    """A tenant's row."""

    tenant_id: str
    name: str
    region: str
    isolation: Literal["database"]
    status: TenantStatus
    created_at: datetime
    epoch: int
    cluster: str
    database_name: str
    schema_name: str
    schema_version: int
    ingest_events_per_s: int | None
    ingest_requests_max: int | None
    deleted_at: datetime | None

    def is_as_asked(self, wanted: NewTenant) -> bool:
        """Say whether a request asks for exactly this tenant."""
        return (self.name, self.region, self.isolation) == (
            wanted.name,
            wanted.region,
            wanted.isolation,
        )

    def is_of_this_release(self) -> bool:
        """Say whether the ledger is as this release makes it."""
        return self.schema_version == LEDGER_VERSION

    def shown(self) -> Tenant:
        """Give what an operator sees of it."""
        return Tenant(
            tenant_id=self.tenant_id,
            name=self.name,
            region=self.region,
            isolation=self.isolation,
            status=self.status,
            created_at=self.created_at,
            epoch=self.epoch,
            home=TenantHome(
                region=self.region,
                cluster=self.cluster,
                database=self.database_name,
                schema=self.schema_name,
            ),
            schema_version=self.schema_version,
            limits=TenantLimits(
                events_per_s=self.ingest_events_per_s, requests_max=self.ingest_requests_max
            ),
            deleted_at=self.deleted_at,
        )


async def find_tenant(connection: Connection, tenant_id: str) -> TenantRow | None:
    """Give a tenant, or None where there is none of this id."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM tenants WHERE tenant_id = $1",  # noqa: S608 (our own column names)
        tenant_id,
    )
    return None if row is None else TenantRow(**row)


async def find_living_tenant(
    connection: Connection, tenant_id: str, *, locked: bool = False
) -> TenantRow:
    """Give a tenant who has been made and is not deleted.

    Args:
        connection: To the catalog.
        tenant_id: The tenant.
        locked: Whether nobody else may change the tenant until the transaction ends.

    Raises:
        Problem: not-found; tenant-deleted; unavailable, where they are still being made.
    """
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM tenants WHERE tenant_id = $1"  # noqa: S608 (our own column names)
        f"{' FOR NO KEY UPDATE' if locked else ''}",
        tenant_id,
    )
    if row is None:
        raise no_tenant()
    tenant = TenantRow(**row)
    if tenant.status == "provisioning":
        raise unavailable("the tenant is still being made")
    if tenant.status in ("deleting", "deleted"):
        raise Problem(TENANT_DELETED, f"the tenant {tenant_id} is deleted, or about to be")
    return tenant


def no_tenant() -> Problem:
    """Make the problem of an id that no tenant has."""
    return Problem(NOT_FOUND, "there is no such tenant")


async def list_tenants(
    connection: Connection, *, after: str | None, rows_max: int, status: TenantStatus | None = None
) -> list[TenantRow]:
    """List tenants in order of their ids, after a given one; all, or those of one status."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM tenants"  # noqa: S608 (our own column names)
        " WHERE tenant_id > $1 AND ($3::text IS NULL OR status = $3) ORDER BY tenant_id LIMIT $2",
        after or "",
        rows_max,
        status,
    )
    return [TenantRow(**row) for row in rows]


async def list_abandoned(connection: Connection, older_than_s: float) -> list[str]:
    """List the tenants whose creation began this long ago and has not ended."""
    rows = await connection.fetch(
        "SELECT tenant_id FROM tenants WHERE status = 'provisioning'"
        " AND created_at < now() - make_interval(secs => $1) ORDER BY created_at",
        older_than_s,
    )
    return [row["tenant_id"] for row in rows]


async def add_tenant(
    connection: Connection, wanted: NewTenant, cluster: str, database_name: str
) -> TenantRow:
    """Add a tenant who is still to be provisioned, with a ledger as this release makes it."""
    row = await connection.fetchrow(
        "INSERT INTO tenants (tenant_id, name, region, isolation, status, cluster,"  # noqa: S608
        " database_name, schema_name, schema_version)"
        f" VALUES ($1, $2, $3, $4, 'provisioning', $5, $6, $7, $8) RETURNING {_COLUMNS}",
        wanted.tenant_id,
        wanted.name,
        wanted.region,
        wanted.isolation,
        cluster,
        database_name,
        LEDGER_SCHEMA,
        LEDGER_VERSION,
    )
    return TenantRow(**_required(row))


async def activate_tenant(connection: Connection, tenant_id: str) -> TenantRow:
    """Show a provisioned tenant to the services, and have projector reconcile them before long."""
    row = await connection.fetchrow(
        "UPDATE tenants SET status = 'active', services_version_min = $2"  # noqa: S608
        f" WHERE tenant_id = $1 RETURNING {_COLUMNS}",
        tenant_id,
        services_version_min(LEDGER_MIGRATIONS),
    )
    await connection.execute(
        "INSERT INTO reconciliations (tenant_id, due_at)"
        " VALUES ($1, now() + make_interval(secs => $2 * (1 + random())))"
        " ON CONFLICT ON CONSTRAINT reconciliations_pkey DO NOTHING",
        tenant_id,
        _RECONCILED_FIRST_S,
    )
    return TenantRow(**_required(row))


async def suspend_tenant(connection: Connection, tenant_id: str, *, suspended: bool) -> TenantRow:
    """Suspend a tenant, or have them ask again. Where they are so already, nothing changes.

    Raises:
        Problem: not-found, tenant-deleted, or unavailable.
    """
    status = "suspended" if suspended else "active"
    async with connection.transaction():
        tenant = await find_living_tenant(connection, tenant_id, locked=True)
        if tenant.status == status:
            return tenant
        row = await connection.fetchrow(
            "UPDATE tenants SET status = $2 WHERE tenant_id = $1"  # noqa: S608 (our column names)
            f" RETURNING {_COLUMNS}",
            tenant_id,
            status,
        )
    return TenantRow(**_required(row))


async def limit_tenant(
    connection: Connection, tenant_id: str, limits: TenantLimits
) -> TenantRow | None:
    """Set what ingest takes of a tenant; None where there is none of this id."""
    row = await connection.fetchrow(
        "UPDATE tenants"  # noqa: S608 (our own column names)
        " SET ingest_events_per_s = $2, ingest_requests_max = $3 WHERE tenant_id = $1"
        f" RETURNING {_COLUMNS}",
        tenant_id,
        limits.events_per_s,
        limits.requests_max,
    )
    return None if row is None else TenantRow(**row)


async def remove_tenant(connection: Connection, tenant_id: str) -> None:
    """Forget a tenant who was never active."""
    async with connection.transaction():
        await connection.execute(
            "DELETE FROM tenant_credentials AS c USING tenants AS t"
            " WHERE c.tenant_id = $1 AND t.tenant_id = $1 AND t.status = 'provisioning'",
            tenant_id,
        )
        await connection.execute(
            "DELETE FROM tenants WHERE tenant_id = $1 AND status = 'provisioning'", tenant_id
        )


async def find_reconciliation(connection: Connection, tenant_id: str) -> Record | None:
    """Give what the last reconciliation found."""
    return await connection.fetchrow(
        "SELECT reconciled_at, findings, anchor_seq FROM reconciliations WHERE tenant_id = $1",
        tenant_id,
    )


async def find_anchor(connection: Connection, tenant_id: str) -> tuple[int, bytes | None]:
    """Give the head that a ledger was last seen to have, which is kept outside it: seq and hash."""
    row = await connection.fetchrow(
        "SELECT anchor_seq, anchor_hash FROM reconciliations WHERE tenant_id = $1", tenant_id
    )
    return (0, None) if row is None else (row["anchor_seq"], row["anchor_hash"])


async def list_regions(
    connection: Connection, *, after: str | None, rows_max: int
) -> Sequence[Record]:
    """List the regions in order of their names, each with those of its clusters."""
    return await connection.fetch(
        "SELECT region, array_agg(cluster ORDER BY cluster) AS clusters FROM clusters"
        " WHERE region > $1 GROUP BY region ORDER BY region LIMIT $2",
        after or "",
        rows_max,
    )


def _required(row: Record | None) -> Record:
    if row is None:
        raise RuntimeError("a statement that changes one row changed none")
    return row
