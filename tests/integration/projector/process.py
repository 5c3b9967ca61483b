"""What a projector process is made of, in this process, on tenants of its own catalog."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from freehold.messaging.broker import Broker
from freehold.tenants.catalog import Catalog
from freehold.tenants.connections import TenantConnections
from freehold.tenants.directory import Directory
from freehold.tenants.traffic import Traffic
from freehold_projector.catch_up import CatchUp
from freehold_projector.hold_expiry import HoldExpiries, HoldExpiry
from freehold_projector.reconciliation import Reconciliation
from freehold_projector.retention import Retention
from freehold_projector.watchers import Watchers
from integration.tenant_manager.installation import KEY_RING, Installation, service_password
from support.waiting import eventually

CATALOG = f"freehold_test_catalog_{secrets.token_hex(6)}"


@dataclass(frozen=True, slots=True)
class Projector:
    """A process as projector's own role has it; nothing in it runs by itself."""

    catch_up: CatchUp
    hold_expiries: HoldExpiries
    hold_expiry: HoldExpiry
    retention: Retention
    reconciliation: Reconciliation


@asynccontextmanager
async def new_projector(installation: Installation) -> AsyncIterator[Projector]:
    """Have one more process for a while."""
    dsn = installation.url(CATALOG, "freehold_projector", service_password("projector"))
    catalog = Catalog(dsn, application="test", timeout_s=5)
    connections = TenantConnections(
        application="test", connections_max=5, per_tenant_max=2, idle_s=60, timeout_s=10
    )
    directory = Directory(catalog, KEY_RING)
    watchers = Watchers(Broker("amqp://127.0.0.1:1/", name="test", timeout_s=1))
    catch_up = CatchUp(
        directory, connections, watchers, Traffic(catalog), in_flight_max=2, events_max=1000
    )
    hold_expiries = HoldExpiries(catalog)
    hold_expiry = HoldExpiry(hold_expiries, directory, connections, catch_up)
    retention = Retention(directory, connections, keys_max=10)
    reconciliation = Reconciliation(
        catalog, directory, connections, catch_up, hold_expiries, retention, every_s=3600
    )
    await catalog.open()

    async def reachable() -> bool:
        return catalog.reachable

    await eventually(reachable, "the catalog is reached")
    yield Projector(catch_up, hold_expiries, hold_expiry, retention, reconciliation)
    await hold_expiry.close()
    await watchers.close()
    await connections.close()
    await catalog.close()
