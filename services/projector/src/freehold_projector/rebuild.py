"""Rebuilding: one tenant's state tables are rebuilt from the ledger, while reads go on."""

from freehold.ledger import client as ledger
from freehold.tenants.access import TenantAccess
from freehold_projector.catch_up import UnknownTenantError
from freehold_projector.settings import Settings

_NAME = "freehold-projector-rebuild"


async def rebuild(settings: Settings, tenant_id: str) -> int:
    """Rebuild a tenant's state; answer the seq that it then has.

    Raises:
        UnknownTenantError: No such tenant is active.
        DomainError: A database does not answer; nothing was changed.
    """
    tenants = TenantAccess(settings, application=_NAME, timeout_s=settings.work_timeout_s)
    async with tenants.opened():
        home = await tenants.directory.home(tenant_id)
        if home is None:
            raise UnknownTenantError(tenant_id)
        async with tenants.connections.use(home) as connection:
            return await ledger.rebuild(connection)
