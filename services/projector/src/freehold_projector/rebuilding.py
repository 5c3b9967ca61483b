"""Rebuilding: one tenant's state tables made anew from their ledger, while reads go on."""

from freehold.ledger import client as ledger
from freehold.security.sealing import KeyRing
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.directory import Directory
from freehold.tenancy.failures import database_failures
from freehold_projector.catching_up import UnknownTenantError
from freehold_projector.settings import Settings

_NAME = "freehold-projector-rebuild"


async def rebuild(settings: Settings, tenant_id: str) -> int:
    """Make a tenant's state anew; answer the seq that it then stands at.

    Raises:
        UnknownTenantError: No such tenant is active.
        Problem: A database does not answer; nothing was changed.
    """
    catalog = Catalog(settings.catalog_dsn.get_secret_value(), application=_NAME, timeout_s=5.0)
    directory = Directory(catalog, KeyRing(settings.credential_keys.get_secret_value()))
    connections = TenantConnections(
        application=_NAME,
        connections_max=1,
        per_tenant_max=1,
        idle_s=60,
        timeout_s=settings.work_timeout_s,
        renew=directory.renewed,
    )
    await catalog.open()
    try:
        home = await directory.home(tenant_id)
        if home is None:
            raise UnknownTenantError(tenant_id)
        with database_failures():
            async with connections.use(home) as connection:
                return await ledger.rebuild(connection)
    finally:
        await connections.close()
        await catalog.close()
