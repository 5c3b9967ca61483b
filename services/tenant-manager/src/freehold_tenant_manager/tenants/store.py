"""Tenants in the catalog.

A tenant is `provisioning` until its database, roles and first key exist. Services do not see it
before, so an unfinished creation can be undone. A deleted tenant keeps its row, so its id is never
used again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from freehold.contracts.errors import NotFound, TenantDeleted, Unavailable
from freehold.database.queries import load_queries
from freehold.ledger.client import Connection, Record
from freehold.ledger.schema import LEDGER_SCHEMA, LEDGER_SOURCE, LEDGER_VERSION
from freehold_tenant_manager.contracts.tenants import (
    NewTenant,
    Tenant,
    TenantHome,
    TenantLimits,
    TenantStatus,
)

_QUERIES = load_queries("freehold_tenant_manager.tenants", "queries.sql")

# At the earliest; an empty ledger can wait.
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
    recovering: bool

    def is_as_asked(self, wanted: NewTenant) -> bool:
        """Say whether a request asks for exactly this tenant."""
        return (self.name, self.region, self.isolation) == (
            wanted.name,
            wanted.region,
            wanted.isolation,
        )

    def is_of_this_release(self) -> bool:
        """Say whether the ledger has this release's version."""
        return self.schema_version == LEDGER_VERSION

    def shown(self) -> Tenant:
        """Give the tenant as the API shows it."""
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
    """Give a tenant, or None if no tenant has this id."""
    row = await connection.fetchrow(_QUERIES["find"], tenant_id)
    return None if row is None else TenantRow(**row)


async def require_tenant(connection: Connection, tenant_id: str) -> TenantRow:
    """Give a tenant.

    Raises:
        NotFound: There is none.
    """
    tenant = await find_tenant(connection, tenant_id)
    if tenant is None:
        raise NotFound("there is no such tenant")
    return tenant


async def find_living_tenant(
    connection: Connection, tenant_id: str, *, locked: bool = False
) -> TenantRow:
    """Give a tenant that is neither being made nor deleted.

    With `locked`, its row does not change until the transaction ends.

    Raises:
        NotFound: There is none.
        TenantDeleted: It is deleted, or about to be.
        Unavailable: It is being made.
    """
    if locked:
        await connection.execute(_QUERIES["lock"], tenant_id)
    tenant = await require_tenant(connection, tenant_id)
    if tenant.status == "provisioning":
        raise Unavailable("the tenant is still being made")
    if tenant.status in ("deleting", "deleted"):
        raise TenantDeleted(f"the tenant {tenant_id} is deleted, or about to be")
    return tenant


async def list_tenants(
    connection: Connection, *, after: str | None, rows_max: int, status: TenantStatus | None = None
) -> list[TenantRow]:
    """List tenants in order of their ids, after a given one; all, or those of one status."""
    rows = await connection.fetch(_QUERIES["list"], after or "", rows_max, status)
    return [TenantRow(**row) for row in rows]


async def list_abandoned(connection: Connection, older_than_s: float) -> list[str]:
    """List the tenants whose creation began earlier and has not ended; age in seconds."""
    rows = await connection.fetch(_QUERIES["list_abandoned"], older_than_s)
    return [row["tenant_id"] for row in rows]


async def add_tenant(
    connection: Connection, wanted: NewTenant, cluster: str, database_name: str
) -> TenantRow:
    """Add a tenant with the status `provisioning` and this release's ledger version."""
    await connection.execute(
        _QUERIES["add"],
        wanted.tenant_id,
        wanted.name,
        wanted.region,
        wanted.isolation,
        cluster,
        database_name,
        LEDGER_SCHEMA,
        LEDGER_VERSION,
    )
    return await require_tenant(connection, wanted.tenant_id)


async def activate_tenant(connection: Connection, tenant_id: str) -> TenantRow:
    """Show a provisioned tenant to the services, and schedule its first reconciliation."""
    await connection.execute(_QUERIES["activate"], tenant_id, LEDGER_SOURCE.services_version_min)
    await connection.execute(_QUERIES["reconcile_first"], tenant_id, _RECONCILED_FIRST_S)
    return await require_tenant(connection, tenant_id)


async def suspend_tenant(connection: Connection, tenant_id: str, *, suspended: bool) -> TenantRow:
    """Suspend or resume a tenant; nothing changes if it has the status already.

    Raises:
        NotFound, TenantDeleted, Unavailable: As `find_living_tenant`.
    """
    status = "suspended" if suspended else "active"
    async with connection.transaction():
        tenant = await find_living_tenant(connection, tenant_id, locked=True)
        if tenant.status == status:
            return tenant
        await connection.execute(_QUERIES["set_status"], tenant_id, status)
        return await require_tenant(connection, tenant_id)


async def limit_tenant(connection: Connection, tenant_id: str, limits: TenantLimits) -> TenantRow:
    """Set what ingest accepts from a tenant.

    Raises:
        NotFound: There is none.
    """
    await connection.execute(_QUERIES["limit"], tenant_id, limits.events_per_s, limits.requests_max)
    return await require_tenant(connection, tenant_id)


async def remove_tenant(connection: Connection, tenant_id: str) -> None:
    """Delete a tenant that was never active."""
    async with connection.transaction():
        await connection.execute(_QUERIES["remove_credentials"], tenant_id)
        await connection.execute(_QUERIES["remove"], tenant_id)


async def find_reconciliation(connection: Connection, tenant_id: str) -> Record | None:
    """Give the last reconciliation's result, and the anchor: a head of the ledger that it saw."""
    return await connection.fetchrow(_QUERIES["find_reconciliation"], tenant_id)


async def list_regions(
    connection: Connection, *, after: str | None, rows_max: int
) -> Sequence[Record]:
    """List the regions in order of their names, each with the names of its clusters."""
    return await connection.fetch(_QUERIES["list_regions"], after or "", rows_max)
