"""Catching up: one tenant's state tables brought to the end of its ledger.

The ledger is read from the tenant's own checkpoint, so whoever asks, and however often, the result
is the same.
"""

import asyncio

from freehold.ledger import client as ledger
from freehold.ledger.client import Projection
from freehold.service.metrics import LEDGER_CALL_SECONDS
from freehold.service.places import place
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.directory import Directory
from freehold.tenancy.failures import database_failures
from freehold.tenancy.homes import Home
from freehold_projector.metrics import CALL_EVENTS, EVENTS_PROJECTED
from freehold_projector.watchers import Watchers

_PROJECT_SECONDS = LEDGER_CALL_SECONDS.labels("project")


class UnknownTenantError(Exception):
    """There is no such active tenant."""


class CatchingUp:
    """Projects tenants, with a cap on how many at once."""

    def __init__(
        self,
        directory: Directory,
        connections: TenantConnections,
        watchers: Watchers,
        *,
        in_flight_max: int,
        events_max: int,
    ) -> None:
        self._directory = directory
        self._connections = connections
        self._watchers = watchers
        self._in_flight = asyncio.Semaphore(in_flight_max)
        self._events_max = events_max

    async def catch_up(self, tenant_id: str) -> Projection:
        """Project until the ledger's end.

        Raises:
            UnknownTenantError: No such tenant is active.
            Problem: A database does not answer; trying again later may help.
            asyncpg.PostgresError: The projection itself failed.
        """
        home = await self._directory.home(tenant_id)
        if home is None:
            raise UnknownTenantError(tenant_id)
        while True:
            projection = await self._project(home)
            # Where nothing was applied nothing will be: a ledger cut short ends before its head.
            if projection.last_seq >= projection.head_seq or projection.applied == 0:
                return projection

    async def _project(self, home: Home) -> Projection:
        with _PROJECT_SECONDS.time(), database_failures():
            # The connection first: one that is slow to come must not hold a place in flight. Both
            # are let go between calls, so that a long tail keeps no other tenant waiting.
            async with self._connections.use(home) as connection, place(self._in_flight):
                projection = await ledger.project(connection, self._events_max)
        CALL_EVENTS.observe(projection.applied)
        if projection.applied:
            EVENTS_PROJECTED.inc(projection.applied)
            self._watchers.tell(home.tenant_id, projection)
        return projection
