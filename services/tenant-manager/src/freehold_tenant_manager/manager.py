"""What the routes work with, from the first start to the last request.

Until the catalog is set up, which is tried for as long as it takes, nothing else is done: every
route answers 503.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import structlog

from freehold.contracts.problems import unavailable
from freehold.security.sealing import KeyRing
from freehold.service.background import Periodic
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.connections import TenantConnections
from freehold_tenant_manager.abandonment import undo_abandoned
from freehold_tenant_manager.catalog.setup import set_up
from freehold_tenant_manager.operations import Operations
from freehold_tenant_manager.overview import Overview
from freehold_tenant_manager.provisioning import Provisioner
from freehold_tenant_manager.redriving import Redriver
from freehold_tenant_manager.server import APPLICATION, Server
from freehold_tenant_manager.settings import Settings
from freehold_tenant_manager.verifying import Verifier

_log = structlog.get_logger(__name__)

_CONNECT_TIMEOUT_S = 5.0
_STATEMENT_TIMEOUT_S = 30.0
_IDLE_S = 10.0
_RETRY_FIRST_S = 0.5
_RETRY_MAX_S = 5.0


class Manager:
    """The service's parts. Made where an event loop runs."""

    def __init__(self, settings: Settings, key_ring: KeyRing) -> None:
        self.settings = settings
        self._server = Server(
            settings.catalog_dsn.get_secret_value(),
            connect_timeout_s=_CONNECT_TIMEOUT_S,
            statement_timeout_s=_STATEMENT_TIMEOUT_S,
        )
        self._catalog = Catalog(
            settings.catalog_dsn.get_secret_value(),
            application=APPLICATION,
            timeout_s=settings.request_timeout_s,
            pool_max=settings.catalog_connections_max,
        )
        self._connections = TenantConnections(
            application=APPLICATION,
            connections_max=settings.tenant_connections_max,
            per_tenant_max=1,
            idle_s=_IDLE_S,
            timeout_s=settings.tenant_timeout_s,
        )
        self._provisioner = Provisioner(
            self._catalog,
            self._server,
            key_ring,
            cluster=settings.cluster,
            in_flight_max=settings.provisioning_in_flight_max,
        )
        self._overview = Overview(
            self._catalog, self._connections, key_ring, timeout_s=settings.tenant_timeout_s
        )
        self._undoing = Periodic(
            "undoing abandoned creations",
            self._undo_abandoned,
            pause_s=settings.provisioning_abandoned_s / 2,
        )
        self._operations = Operations(
            self._catalog, in_flight_max=settings.operations_in_flight_max
        )
        self._verifying = TenantConnections(
            application=f"{APPLICATION}-verify",
            connections_max=settings.operations_in_flight_max,
            per_tenant_max=1,
            idle_s=_IDLE_S,
            timeout_s=settings.verify_timeout_s,
        )
        self._operations.handle("verify", Verifier(self._catalog, self._verifying, key_ring).verify)
        self._operations.handle("redrive", Redriver(settings).redrive)
        self._is_set_up = False
        self._work: asyncio.Task[None] | None = None

    @property
    def catalog(self) -> Catalog:
        """The catalog.

        Raises:
            Problem: unavailable, before it is set up.
        """
        self._require_set_up()
        return self._catalog

    @property
    def provisioner(self) -> Provisioner:
        """What makes tenants.

        Raises:
            Problem: unavailable, before the catalog is set up.
        """
        self._require_set_up()
        return self._provisioner

    @property
    def overview(self) -> Overview:
        """What shows tenants.

        Raises:
            Problem: unavailable, before the catalog is set up.
        """
        self._require_set_up()
        return self._overview

    @property
    def operations(self) -> Operations:
        """What does the work that takes long.

        Raises:
            Problem: unavailable, before the catalog is set up.
        """
        self._require_set_up()
        return self._operations

    async def open(self) -> None:
        """Begin; setting up goes on in the background."""
        self._work = asyncio.create_task(self._run())

    async def close(self) -> None:
        """End what goes on in the background, and every connection."""
        if self._work is not None:
            self._work.cancel()
            with suppress(asyncio.CancelledError):
                await self._work
        await self._operations.close()
        await self._verifying.close()
        await self._undoing.close()
        await self._connections.close()
        await self._catalog.close()

    def readiness(self) -> Mapping[str, bool]:
        """Say what /readyz says."""
        return {"catalog": self._catalog.reachable, "set_up": self._is_set_up}

    def _require_set_up(self) -> None:
        if not self._is_set_up:
            raise unavailable("the catalog is not set up yet")

    async def _run(self) -> None:
        pause_s = _RETRY_FIRST_S
        while not self._is_set_up:
            try:
                await set_up(self._server, self.settings)
                await self._catalog.open()
                self._is_set_up = True
            except Exception as error:  # noqa: BLE001 (whatever it is may pass, and is told)
                _log.warning("catalog not set up yet", fault=repr(error), retry_in_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _RETRY_MAX_S)
        _log.info("catalog set up", region=self.settings.region, cluster=self.settings.cluster)
        await self._undoing.open()
        await self._operations.open()

    async def _undo_abandoned(self) -> bool:
        await undo_abandoned(
            self._catalog, self._provisioner, self.settings.provisioning_abandoned_s
        )
        return False
