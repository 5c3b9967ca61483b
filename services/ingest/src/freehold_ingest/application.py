"""Ingest, composed from the catalog up to the routes."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from fastapi import FastAPI

from freehold.aio.lifecycle import open_in
from freehold.aio.periodic import Periodic
from freehold.contracts.errors import ClocksDisagree, DomainError, TooManyRequests
from freehold.http.application import Check, new_application
from freehold.http.openapi import TENANTS_CALLERS
from freehold.messaging.broker import Broker
from freehold.tenants.access import TenantAccess
from freehold_ingest.admission import Admission
from freehold_ingest.announcement_leases import AnnouncementLeases
from freehold_ingest.announcer import Announcer
from freehold_ingest.appender import Appender
from freehold_ingest.calls import Calls
from freehold_ingest.holds import HOLD_MODELS, Holds, hold_routes
from freehold_ingest.import_routes import IMPORT_MODELS, IMPORT_PATH, import_routes
from freehold_ingest.inbound import Inbound
from freehold_ingest.intake import Intake
from freehold_ingest.limits import Limits
from freehold_ingest.relay import Relay
from freehold_ingest.routes import REQUEST_MODELS, event_routes
from freehold_ingest.rules import RULE_MODELS, account_limit_routes, event_type_routes
from freehold_ingest.settings import Settings
from freehold_ingest.transactions import TRANSACTION_MODELS, Transactions, transaction_routes

_NAME = "freehold-ingest"
# The statement timeout, which is the request's, does not bound the commit that follows.
_COMMIT_S = 5.0
_DESCRIPTION = """Appends events to the ledger of the tenant whose key asks.

Each process limits the events per second of a tenant, and the requests that it works on at once for
them. More are answered 429 `too-many-requests`, with the seconds to wait in `Retry-After`. Every
request counts for its events, and at least for one, even if it is refused."""


def make_application(settings: Settings) -> FastAPI:
    """Compose the service."""
    tenants = TenantAccess(settings, application=_NAME, timeout_s=settings.request_timeout_s)
    catalog, directory, connections = tenants.catalog, tenants.directory, tenants.connections
    broker = Broker(settings.amqp_url.get_secret_value(), name=_NAME, timeout_s=5.0)
    leases = AnnouncementLeases(catalog, idle_s=settings.idle_mark_s, lease_s=settings.dead_after_s)
    announcer = Announcer(broker)
    relay = Relay(
        leases,
        announcer,
        directory,
        connections,
        again_after_s=settings.request_timeout_s + _COMMIT_S,
    )
    # Two of them: looking at a slow ledger must not delay the heartbeat.
    beating = Periodic("heartbeat", relay.renew, pause_s=settings.heartbeat_s, after=catalog.met)
    relaying = Periodic("relay", relay.look_around, pause_s=settings.heartbeat_s, after=catalog.met)
    appender = Appender(settings, connections, leases, announcer, relay, tenants.traffic)
    limits = Limits(
        events_per_s=settings.tenant_events_per_s, requests_max=settings.tenant_requests_max
    )
    intake = Intake(appender, limits)
    admission = Admission(directory, limits)
    calls = Calls(connections)
    inbound = Inbound(settings, directory, limits, intake, tenants.traffic)
    shutdown_s = settings.shutdown_timeout_s / 3

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        announced = False

        async def announce_the_rest() -> None:
            nonlocal announced
            announced = await announcer.close(shutdown_s)

        async def leave_the_relay() -> None:
            if announced and relay.settled:
                with suppress(DomainError):
                    await leases.resign()

        # Closed from the end to the beginning, each whether or not another fails: what was accepted
        # is finished, then announced, and then the process leaves the relay.
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(tenants.opened())
            await open_in(stack, broker)
            stack.push_async_callback(leave_the_relay)
            await open_in(stack, beating)
            stack.push_async_callback(announce_the_rest)
            await open_in(stack, relaying)
            stack.push_async_callback(appender.drain)
            stack.push_async_callback(inbound.close, shutdown_s)
            await inbound.open()
            yield

    async def readiness() -> Mapping[str, Check]:
        return {
            "catalog": Check(catalog.reachable, reason=catalog.unfitness),
            "clock": Check(catalog.clocks_agree, reason=catalog.clock_fault),
            # Not needed: without the broker events are accepted over HTTP, and announced later.
            "broker": Check(broker.is_whole, is_needed=False, reason=broker.unfitness),
            "inbound": Check(inbound.link.is_whole, is_needed=False, reason=inbound.link.unfitness),
        }

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
        caller_problems=(*TENANTS_CALLERS, TooManyRequests, ClocksDisagree),
        body_bytes_max=settings.body_bytes_max,
        timeout_s=settings.request_timeout_s,
        requests_in_flight_max=settings.requests_in_flight_max,
        all_bodies_bytes_max=settings.all_bodies_bytes_max,
        streaming_paths=frozenset({IMPORT_PATH}),
        traffic=tenants.traffic,
    )
    app.include_direct_routes(event_routes(admission, intake))
    app.include_direct_routes(transaction_routes(admission, Transactions(appender, limits)))
    app.include_direct_routes(hold_routes(admission, Holds(appender)))
    app.include_router(event_type_routes(admission, calls, settings.clock))
    app.include_router(account_limit_routes(admission, calls, settings.clock))
    app.include_router(
        import_routes(directory, admission, limits, appender, patience_s=settings.import_patience_s)
    )
    return app
