"""Calls of tenants' databases other than append: rules.

At most 4 run at once, and one for each tenant. So they hardly delay appends, and no tenant delays
another.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from freehold.aio.permits import permit
from freehold.ledger.client import Connection
from freehold.observability.metrics import LEDGER_CALL_SECONDS
from freehold.tenants.connections import TenantConnections
from freehold.tenants.homes import Home

_IN_FLIGHT_MAX = 4


class Calls:
    """Lends connections for short calls."""

    def __init__(self, connections: TenantConnections) -> None:
        self._connections = connections
        self._in_flight = asyncio.Semaphore(_IN_FLIGHT_MAX)
        # A tenant's entry lives as long as one of their calls.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def connection(self, home: Home, call: str) -> AsyncIterator[Connection]:
        """Lend a connection to a tenant's database for a call of this name in the metrics.

        Raises:
            Overloaded, Unavailable: The call may have been made or not.
        """
        turn = self._turns.get(home.tenant_id)
        if turn is None:
            turn = self._turns[home.tenant_id] = asyncio.Lock()
        with LEDGER_CALL_SECONDS.labels(call).time():
            # The connection before the permit: a slow connection must not hold a permit.
            async with turn, self._connections.use(home) as connection, permit(self._in_flight):
                yield connection
