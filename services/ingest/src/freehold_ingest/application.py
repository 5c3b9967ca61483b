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
from freehold_ingest.admission import Admission
from freehold_ingest.announcer import Announcer
from freehold_ingest.appender import Appender
from freehold_ingest.calls import Calls
from freehold_ingest.express import ExpressEvents
from freehold_ingest.holds import HOLD_MODELS, Holds, hold_routes
from freehold_ingest.import_routes import IMPORT_MODELS, IMPORT_PATH, import_routes
from freehold_ingest.inbound import Inbound
from freehold_ingest.intake import Intake
from freehold_ingest.limits import Limits
from freehold_ingest.marks import Marks
from freehold_ingest.relay import Relay
from freehold_ingest.routes import REQUEST_MODELS, direct_routes, routes
from freehold_ingest.rules import RULE_MODELS, account_limit_routes, event_type_routes
from freehold_ingest.settings import Settings
from freehold_ingest.transactions import (
    TRANSACTION_MODELS,
    Transactions,
    transaction_routes,
)

_NAME = "freehold-ingest"
# The statement timeout, which is the request's, does not bound the commit that follows.
_COMMIT_S = 5.0
_DESCRIPTION = """Appends events to the ledger of the tenant whose key asks.

Each process takes so many events a second of a tenant, and works on so many of their requests at
once; more are answered 429 `too-many-requests`, with the seconds to wait in `Retry-After`. A
request counts for its events, and at least for one, whatever becomes of it."""


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
        renew=directory.renewed,
    )
    broker = Broker(settings.amqp_url.get_secret_value(), name=_NAME, timeout_s=5.0)
    marks = Marks(catalog, idle_s=settings.idle_mark_s, dead_after_s=settings.dead_after_s)
    announcer = Announcer(broker)
    relay = Relay(
        marks,
        announcer,
        directory,
        connections,
        again_after_s=settings.request_timeout_s + _COMMIT_S,
    )
    # Two of them: looking at a slow ledger must not delay the heartbeat.
    beating = Periodic("heartbeat", relay.beat, pause_s=settings.heartbeat_s)
    relaying = Periodic("relay", relay.look_around, pause_s=settings.heartbeat_s)
    appender = Appender(settings, connections, marks, announcer, relay)
    limits = Limits(
        events_per_s=settings.tenant_events_per_s, requests_max=settings.tenant_requests_max
    )
    calls = Calls(connections)
    intake = Intake(appender, calls, limits)
    admission = Admission(directory, limits)
    inbound = Inbound(settings, directory, limits, intake)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await catalog.open(directory.changed)
        await broker.open()
        await announcer.open()
        await beating.open()
        await relaying.open()
        await inbound.open()
        yield
        await inbound.close(settings.shutdown_timeout_s / 3)
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
        description=_DESCRIPTION,
        lifespan=lifespan,
        readiness=readiness,
        request_models=(
            *REQUEST_MODELS,
            *TRANSACTION_MODELS,
            *HOLD_MODELS,
            *RULE_MODELS,
            *IMPORT_MODELS,
        ),
        body_bytes_max=settings.body_bytes_max,
        timeout_s=settings.request_timeout_s,
        requests_in_flight_max=settings.requests_in_flight_max,
        all_bodies_bytes_max=settings.all_bodies_bytes_max,
        streaming_paths=frozenset({IMPORT_PATH}),
    )
    app.include_direct_routes(direct_routes(admission, intake))
    app.include_express_lane("POST", "/v1/events", ExpressEvents(directory, limits, appender))
    app.include_router(routes(admission, intake))
    app.include_router(transaction_routes(admission, Transactions(appender, calls, limits)))
    app.include_router(hold_routes(admission, Holds(appender, calls)))
    app.include_router(event_type_routes(admission, calls))
    app.include_router(account_limit_routes(admission, calls))
    app.include_router(
        import_routes(directory, admission, limits, appender, patience_s=settings.import_patience_s)
    )
    return app
