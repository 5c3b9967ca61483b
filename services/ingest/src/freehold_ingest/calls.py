"""Calls of tenants' databases beside append: rules, and what a request speaks of.

A few at once, and one of each tenant. So they take next to nothing from appends, and a tenant who
asks for many of them takes nothing from others.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from freehold.ledger.client import Connection
from freehold.service.metrics import LEDGER_CALL_SECONDS
from freehold.service.places import place
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.failures import database_failures
from freehold.tenancy.homes import Home

_IN_FLIGHT_MAX = 4


class Calls:
    """Lends connections for short calls."""

    def __init__(self, connections: TenantConnections) -> None:
        self._connections = connections
        self._in_flight = asyncio.Semaphore(_IN_FLIGHT_MAX)
        # A tenant's turn stays known for as long as anybody waits for it.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def connection(self, home: Home, call: str) -> AsyncIterator[Connection]:
        """Lend a connection to a tenant's database.

        Args:
            home: Where the tenant is at home.
            call: What it is for, as the metrics name it.

        Raises:
            Problem: overloaded or unavailable. What was to be changed may have been, then.
        """
        turn = self._turns.get(home.tenant_id)
        if turn is None:
            turn = self._turns[home.tenant_id] = asyncio.Lock()
        with database_failures(), LEDGER_CALL_SECONDS.labels(call).time():
            # The connection before the place: one that is slow to come must not hold a place.
            async with turn, self._connections.use(home) as connection, place(self._in_flight):
                yield connection
