"""Where a ledger is dumped from."""

from freehold.contracts.problems import NOT_FOUND, TENANT_DELETED, Problem, unavailable
from freehold.security.sealing import KeyRing
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.homes import Home
from freehold_tenant_manager.catalog.credentials import find_home
from freehold_tenant_manager.catalog.tenants import find_tenant


async def find_source(catalog: Catalog, key_ring: KeyRing, tenant_id: str) -> tuple[Home, int]:
    """Give a tenant's home as the role that dumps it, and its server's major version.

    Raises:
        Problem: not-found; tenant-deleted; unavailable, where the tenant is being made, or was made
            by a release that knew no such role and not migrated since.
    """
    async with catalog.connection() as connection:
        tenant = await find_tenant(connection, tenant_id)
        if tenant is None:
            raise Problem(NOT_FOUND, "there is no such tenant")
        home = await find_home(connection, key_ring, tenant_id, "backup")
        # Tenants' databases are on the catalog's server.
        version = connection.get_server_version().major
    if home is None:
        if tenant.status == "provisioning":
            raise unavailable("the tenant is still being made")
        if tenant.status in ("deleting", "deleted"):
            raise Problem(TENANT_DELETED, "the tenant is deleted")
        raise unavailable("the tenant has no role for dumps; POST /v1/migrations makes it")
    return home, version
