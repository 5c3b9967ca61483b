"""What ingest is made of, from the catalog up to the routes."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI

from freehold.contracts.problems import Problem
from freehold.messaging.broker import Broker
from freehold.security.sealing import KeyRing
from freehold.service.application import new_application
from freehold.service.background import Periodic
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.directory import Directory
from freehold_ingest.announcer import Announcer
from freehold_ingest.appender import Appender
from freehold_ingest.intake import Intake
from freehold_ingest.marks import Marks
from freehold_ingest.relay import Relay
from freehold_ingest.routes import REQUEST_MODELS, routes
from freehold_ingest.settings import Settings

_NAME = "freehold-ingest"


def make_application(settings: Settings) -> FastAPI:
    """Compose the service."""
    catalog = Catalog(settings.catalog_dsn.get_secret_value(), application=_NAME, timeout_s=5.0)
    directory = Directory(catalog, KeyRing(settings.credential_keys.get_secret_value()))
    connections = TenantConnections(
        application=_NAME,
        connections_max=settings.connections_max,
        per_tenant_max=settings.connections_per_tenant_max,
        idle_s=settings.connection_idle_s,
        timeout_s=settings.request_timeout_s,
    )
    broker = Broker(settings.amqp_url.get_secret_value(), name=_NAME, timeout_s=5.0)
    marks = Marks(catalog, idle_s=settings.idle_mark_s, dead_after_s=settings.dead_after_s)
    announcer = Announcer(broker)
    relay = Relay(marks, announcer, directory, connections)
    # Two of them: looking at a slow ledger must not delay the heartbeat.
    beating = Periodic("heartbeat", relay.beat, pause_s=settings.heartbeat_s)
    relaying = Periodic("relay", relay.look_around, pause_s=settings.heartbeat_s)
    appender = Appender(settings, connections, marks, announcer, relay)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await catalog.open(directory.changed)
        await broker.open()
        await announcer.open()
        await beating.open()
        await relaying.open()
        yield
        # What was accepted is finished first, then announced; then the process leaves the relay.
        await appender.drain()
        await relaying.close()
        announced = await announcer.close(settings.shutdown_timeout_s / 3)
        await beating.close()
        if announced and relay.settled:
            with suppress(Problem):
                await marks.resign()
        await broker.close()
        await connections.close()
        await catalog.close()

    async def readiness() -> Mapping[str, bool]:
        # The broker is not among them: without it events are accepted and announced later.
        return {"catalog": catalog.reachable}

    app = new_application(
        title="Freehold ingest",
        description="Appends events to the ledger of the tenant whose key asks.",
        lifespan=lifespan,
        readiness=readiness,
        request_models=REQUEST_MODELS,
        body_bytes_max=settings.body_bytes_max,
        timeout_s=settings.request_timeout_s,
    )
    app.include_router(routes(directory, Intake(appender)))
    return app
