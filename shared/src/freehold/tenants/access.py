"""What a service reaches its tenants by."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from freehold.aio.lifecycle import open_in
from freehold.aio.periodic import Periodic
from freehold.security.key_ring import KeyRing
from freehold.settings import TenantSettings
from freehold.tenants.catalog import Catalog
from freehold.tenants.connections import TenantConnections
from freehold.tenants.directory import Directory
from freehold.tenants.traffic import WRITE_EVERY_S, Traffic


class TenantAccess:
    """The catalog, its directory, connections to tenants' databases, and counts of their traffic.

    Args:
        settings: The service's settings.
        application: The service's name, as database servers show it.
        timeout_s: Bounds each statement in a tenant's database, and the wait for a connection.
        catalog_timeout_s: The same for the catalog.
    """

    def __init__(
        self,
        settings: TenantSettings,
        *,
        application: str,
        timeout_s: float,
        catalog_timeout_s: float = 5.0,
    ) -> None:
        self.catalog = Catalog(
            settings.catalog_dsn.get_secret_value(),
            application=application,
            timeout_s=catalog_timeout_s,
            clock=settings.clock,
        )
        self.key_ring = KeyRing(settings.credential_keys.get_secret_value())
        self.directory = Directory(self.catalog, self.key_ring)
        self.connections = TenantConnections(
            application=application,
            connections_max=settings.connections_max,
            per_tenant_max=settings.connections_per_tenant_max,
            idle_s=settings.connection_idle_s,
            timeout_s=timeout_s,
            renew=self.directory.renewed,
            tls=settings.tls,
        )

        self.traffic = Traffic(self.catalog)
        self._writing = Periodic(
            "writing traffic", self.traffic.write, pause_s=WRITE_EVERY_S, after=self.catalog.met
        )

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Have the catalog open for a while. Connections are opened on demand, and closed here."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.catalog.close)
            stack.push_async_callback(self.connections.close)
            await self.catalog.open(self.directory.changed)
            stack.push_async_callback(self.traffic.write_last)
            await open_in(stack, self._writing)
            yield
