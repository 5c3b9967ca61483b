"""What projector is made of. Its HTTP side is health and metrics only."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from freehold.messaging.broker import Broker
from freehold.security.sealing import KeyRing
from freehold.service.application import new_application
from freehold.service.background import Periodic
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.directory import Directory
from freehold_projector.catching_up import CatchingUp
from freehold_projector.doorbells import Doorbells
from freehold_projector.hold_expiry import HoldExpiries, HoldExpiry
from freehold_projector.reconciliation import Reconciliation
from freehold_projector.retention import PAUSE_S, Retention
from freehold_projector.settings import Settings
from freehold_projector.watchers import Watchers

_NAME = "freehold-projector"


def make_application(settings: Settings) -> FastAPI:
    """Compose the service."""
    catalog = Catalog(settings.catalog_dsn.get_secret_value(), application=_NAME, timeout_s=5.0)
    directory = Directory(catalog, KeyRing(settings.credential_keys.get_secret_value()))
    connections = TenantConnections(
        application=_NAME,
        connections_max=settings.connections_max,
        per_tenant_max=settings.connections_per_tenant_max,
        idle_s=settings.connection_idle_s,
        timeout_s=settings.work_timeout_s,
        renew=directory.renewed,
    )
    doorbells = Doorbells(settings)
    broker = Broker(
        settings.amqp_url.get_secret_value(),
        name=_NAME,
        timeout_s=5.0,
        on_delivery=doorbells.on_delivery,
        prefetch=settings.prefetch,
    )
    watchers = Watchers(broker)
    catching_up = CatchingUp(
        directory,
        connections,
        watchers,
        in_flight_max=settings.transactions_in_flight_max,
        events_max=settings.project_events_max,
    )
    hold_expiries = HoldExpiries(catalog)
    hold_expiry = HoldExpiry(hold_expiries, directory, connections, catching_up)
    retention = Retention(directory, connections)
    reconciliation = Reconciliation(
        catalog,
        directory,
        connections,
        catching_up,
        hold_expiries,
        retention,
        every_s=settings.reconcile_every_s,
    )
    background = (
        Periodic("reconciliation", reconciliation.reconcile_due, pause_s=settings.reconcile_poll_s),
        Periodic("hold expiry", hold_expiry.expire_due, pause_s=settings.hold_expiry_poll_s),
        Periodic("retention", retention.forget, pause_s=PAUSE_S),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        doorbells.attach(broker, catching_up, hold_expiries)
        await catalog.open(directory.changed)
        await broker.open()
        for work in background:
            await work.open()
        yield
        # No new doorbells; those taken are served and acknowledged; then the link may go.
        await broker.stop_consuming()
        await doorbells.drain(settings.shutdown_timeout_s / 2)
        for work in background:
            await work.close()
        await hold_expiry.close()
        await watchers.close()
        await broker.close()
        await connections.close()
        await catalog.close()

    async def readiness() -> Mapping[str, bool]:
        return {"catalog": catalog.reachable, "broker": broker.connected}

    return new_application(
        title="Freehold projector",
        description="Applies ledgers to state tables; health and metrics only.",
        lifespan=lifespan,
        readiness=readiness,
        timeout_s=settings.request_timeout_s,
        requests_in_flight_max=settings.requests_in_flight_max,
        all_bodies_bytes_max=settings.all_bodies_bytes_max,
    )
