"""Asks for a tenant's deletion."""

from freehold.contracts.errors import TenantDeleted, Unavailable
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.contracts.operations import Operation
from freehold_tenant_manager.operations.kinds import DELETION
from freehold_tenant_manager.operations.operations import Operations
from freehold_tenant_manager.tenants.store import require_tenant


async def ask_for_deletion(catalog: Catalog, operations: Operations, tenant_id: str) -> Operation:
    """Request a deletion, or that one that failed continues.

    Raises:
        NotFound: There is no such tenant.
        TenantDeleted: They are deleted already.
        Unavailable: They are being made, or the catalog does not answer.
    """
    async with catalog.connection() as connection:
        tenant = await require_tenant(connection, tenant_id)
    if tenant.status == "provisioning":
        raise Unavailable("the tenant is still being made")
    if tenant.status == "deleted":
        raise TenantDeleted(f"the tenant {tenant_id} is deleted already")
    return await operations.submit(DELETION, tenant_id)
