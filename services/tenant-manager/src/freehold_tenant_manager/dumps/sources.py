"""Finds the database that a tenant's dump is made from."""

from freehold.contracts.errors import TenantDeleted, Unavailable
from freehold.security.key_ring import KeyRing
from freehold.tenants.catalog import Catalog
from freehold.tenants.homes import Home
from freehold_tenant_manager.credentials.store import find_home
from freehold_tenant_manager.tenants.store import require_tenant


async def find_source(catalog: Catalog, key_ring: KeyRing, tenant_id: str) -> tuple[Home, int]:
    """Give a tenant's home with the role that makes dumps, and the server's major version.

    Raises:
        NotFound, TenantDeleted: There is no such tenant, or no more.
        Unavailable: The tenant is being made, or lacks this role until a migration.
    """
    async with catalog.connection() as connection:
        tenant = await require_tenant(connection, tenant_id)
        home = await find_home(connection, key_ring, tenant_id, "backup")
        # Tenants' databases are on the catalog's server.
        version = connection.get_server_version().major
    if home is None:
        if tenant.status == "provisioning":
            raise Unavailable("the tenant is still being made")
        if tenant.status in ("deleting", "deleted"):
            raise TenantDeleted("the tenant is deleted")
        if tenant.recovering:
            raise Unavailable("the tenant's ledger is not brought back yet")
        raise Unavailable("the tenant has no role for dumps; POST /v1/migrations makes it")
    return home, version
