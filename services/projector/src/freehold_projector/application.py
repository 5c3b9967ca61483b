"""What projector is made of. Its HTTP side is health and metrics only."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from freehold.aio.lifecycle import open_in
from freehold.aio.periodic import Periodic
from freehold.http.application import Check, new_application
from freehold.messaging.broker import Broker
from freehold.tenants.access import TenantAccess
from freehold_projector.catch_up import CatchUp
from freehold_projector.doorbells import Doorbells
from freehold_projector.hold_expiry import HoldExpiries, HoldExpiry
from freehold_projector.reconciliation import Reconciliation
from freehold_projector.retention import PAUSE_S, Retention
from freehold_projector.settings import Settings
from freehold_projector.watchers import Watchers

_NAME = "freehold-projector"


def make_application(settings: Settings) -> FastAPI:
    """Compose the service."""
    tenants = TenantAccess(settings, application=_NAME, timeout_s=settings.work_timeout_s)
    catalog, directory, connections = tenants.catalog, tenants.directory, tenants.connections
    broker = Broker(
        settings.amqp_url.get_secret_value(), name=_NAME, timeout_s=5.0, prefetch=settings.prefetch
    )
    watchers = Watchers(broker)
    catch_up = CatchUp(
        directory,
        connections,
        watchers,
        tenants.traffic,
        in_flight_max=settings.transactions_in_flight_max,
        events_max=settings.project_events_max,
    )
    hold_expiries = HoldExpiries(catalog)
    hold_expiry = HoldExpiry(hold_expiries, directory, connections, catch_up, clock=settings.clock)
    doorbells = Doorbells(settings, broker, catch_up, hold_expiries, tenants.traffic)
    retention = Retention(directory, connections, clock=settings.clock)
    reconciliation = Reconciliation(
        catalog,
        directory,
        connections,
        catch_up,
        hold_expiries,
        retention,
        every_s=settings.reconcile_every_s,
        clock=settings.clock,
    )
    background = tuple(
        Periodic(name, work, pause_s=pause_s, after=catalog.met)
        for name, work, pause_s in (
            ("reconciliation", reconciliation.reconcile_due, settings.reconcile_poll_s),
            ("hold expiry", hold_expiry.expire_due, settings.hold_expiry_poll_s),
            ("retention", retention.forget, PAUSE_S),
        )
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(tenants.opened())
            stack.push_async_callback(broker.close)
            stack.push_async_callback(watchers.close)
            stack.push_async_callback(hold_expiry.close)
            for work in background:
                await open_in(stack, work)
            broker.consume(doorbells.on_delivery)
            await broker.open()
            # First no new doorbells; those taken are served and acknowledged before the link goes.
            stack.push_async_callback(doorbells.close, settings.shutdown_timeout_s / 2)
            stack.push_async_callback(broker.stop_consuming)
            yield

    async def readiness() -> Mapping[str, Check]:
        return {
            "catalog": Check(catalog.reachable, reason=catalog.unfitness),
            "broker": Check(broker.is_whole, reason=broker.unfitness),
            "clock": Check(catalog.clocks_agree, reason=catalog.clock_fault),
        }

    return new_application(
        title="Freehold projector",
        description="Applies ledgers to state tables; health and metrics only.",
        lifespan=lifespan,
        readiness=readiness,
        timeout_s=settings.request_timeout_s,
        requests_in_flight_max=settings.requests_in_flight_max,
        all_bodies_bytes_max=settings.all_bodies_bytes_max,
    )
