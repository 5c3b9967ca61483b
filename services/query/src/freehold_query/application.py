"""Query put together: what it is made of, from the catalog up to the routes."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from freehold.security.sealing import KeyRing
from freehold.service.application import new_application
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.directory import Directory
from freehold_query.balances import balance_routes
from freehold_query.events import event_routes
from freehold_query.reads import Reads
from freehold_query.settings import Settings

_NAME = "freehold-query"


def make_application(settings: Settings) -> FastAPI:
    """Compose the service; it connects to nothing before it is started."""
    catalog = Catalog(
        settings.catalog_dsn.get_secret_value(),
        application=_NAME,
        timeout_s=settings.database_timeout_s,
    )
    directory = Directory(catalog, KeyRing(settings.credential_keys.get_secret_value()))
    connections = TenantConnections(
        application=_NAME,
        connections_max=settings.connections_max,
        per_tenant_max=settings.connections_per_tenant_max,
        idle_s=settings.connection_idle_s,
        timeout_s=settings.database_timeout_s,
        renew=directory.renewed,
    )
    reads = Reads(
        connections,
        in_flight_max=settings.transactions_in_flight_max,
        timeout_s=settings.database_timeout_s,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await catalog.open(directory.changed)
        try:
            yield
        finally:
            await reads.drain()
            await connections.close()
            await catalog.close()

    async def readiness() -> Mapping[str, bool]:
        return {"catalog": catalog.reachable}

    app = new_application(
        title="Freehold query",
        description="Balances and events, read from each tenant's own database.",
        lifespan=lifespan,
        readiness=readiness,
        timeout_s=settings.request_timeout_s,
        requests_in_flight_max=settings.requests_in_flight_max,
        all_bodies_bytes_max=settings.all_bodies_bytes_max,
    )
    app.include_router(balance_routes(directory, reads))
    app.include_router(event_routes(directory, reads))
    return app
