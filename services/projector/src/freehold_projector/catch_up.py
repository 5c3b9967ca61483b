"""Catch-up: one tenant's state tables are projected up to the end of its ledger.

The ledger is read from the tenant's own checkpoint, so the result is the same however often and by
however many processes it is done.
"""

import asyncio
import time

from freehold.aio.permits import permit
from freehold.contracts.times import uuid_time_s
from freehold.ledger import client as ledger
from freehold.ledger.client import Projection
from freehold.observability.metrics import LEDGER_CALL_SECONDS
from freehold.tenants.connections import TenantConnections
from freehold.tenants.directory import Directory
from freehold.tenants.homes import Home
from freehold.tenants.traffic import Traffic
from freehold_projector.metrics import CALL_EVENTS, EVENTS_PROJECTED, LAG_SECONDS
from freehold_projector.watchers import Watchers

_PROJECT_SECONDS = LEDGER_CALL_SECONDS.labels("project")


class UnknownTenantError(Exception):
    """There is no such active tenant."""


class CatchUp:
    """Projects tenants, a limited number at once."""

    def __init__(
        self,
        directory: Directory,
        connections: TenantConnections,
        watchers: Watchers,
        traffic: Traffic,
        *,
        in_flight_max: int,
        events_max: int,
    ) -> None:
        self._directory = directory
        self._connections = connections
        self._watchers = watchers
        self._traffic = traffic
        self._in_flight = asyncio.Semaphore(in_flight_max)
        self._events_max = events_max

    async def project(self, tenant_id: str) -> Projection:
        """Project until the ledger's end, and until all indexes of metadata are there too.

        Raises:
            UnknownTenantError: No such tenant is active.
            NotNow: A database does not answer; trying again later may help.
            asyncpg.PostgresError: The projection itself failed.
        """
        home = await self._directory.home(tenant_id)
        if home is None:
            raise UnknownTenantError(tenant_id)
        while True:
            projection = await self._project_once(home)
            # After a call that applied nothing: a ledger that was cut short ends before its head.
            finished = projection.last_seq >= projection.head_seq or projection.applied == 0
            if finished and not projection.unindexed:
                return projection

    async def _project_once(self, home: Home) -> Projection:
        with _PROJECT_SECONDS.time():
            # The connection first: a slow one must not hold a permit. Both are returned between
            # calls, so that a long tail delays no other tenant.
            async with self._connections.use(home) as connection, permit(self._in_flight):
                projection = await ledger.project(connection, self._events_max)
        CALL_EVENTS.observe(projection.applied)
        if projection.applied:
            self._traffic.worked(home.tenant_id, projection.applied)
            EVENTS_PROJECTED.inc(projection.applied)
            LAG_SECONDS.observe(max(time.time() - uuid_time_s(projection.last_event_id), 0))
            self._watchers.notify(home.tenant_id, projection)
        return projection
