"""Reads of tenants' databases. Requests for balances share calls; every call has a deadline.

A strong read includes every event that was committed before its request arrived: a request joins
only calls that begin after it.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from weakref import WeakValueDictionary

from prometheus_client import Histogram

from freehold.aio.permits import permit
from freehold.database.failures import database_failures
from freehold.ledger import client as ledger
from freehold.ledger.client import Connection, Record
from freehold.observability.metrics import LEDGER_CALL_SECONDS
from freehold.tenants.batcher import Batcher, Take
from freehold.tenants.connections import TenantConnections
from freehold.tenants.homes import Home
from freehold.tenants.traffic import Traffic

ACCOUNTS_PER_CALL_MAX = 1_000
WAITING_PER_TENANT_MAX = 10_000
WAITING_MAX = 50_000
# Other reads of a tenant than balances. More wait for each other, and do not delay balances.
OTHER_READS_PER_TENANT_MAX = 2

ACCOUNTS_PER_CALL = Histogram(
    "freehold_query_accounts_per_call",
    "How many requests for an account's balances shared one call.",
    ["call"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)


@dataclass(slots=True)
class _Read:
    """A call that is being measured."""

    rows: int | None = None
    """How many it gave; None where nobody counts them."""


class _Turns:
    """A tenant's share of the calls in flight."""

    def __init__(self, turns_max: int) -> None:
        self.all = asyncio.Semaphore(turns_max)
        self.other_reads = asyncio.Semaphore(OTHER_READS_PER_TENANT_MAX)


class Reads:
    """Lets reads of tenants' databases take turns, and puts those of balances together."""

    def __init__(
        self,
        connections: TenantConnections,
        traffic: Traffic,
        *,
        in_flight_max: int,
        timeout_s: float,
    ) -> None:
        """Set up.

        Args:
            connections: Lends connections to tenants' databases.
            traffic: Remembers each tenant's slowest reads.
            in_flight_max: Calls in flight of all tenants together. A single tenant gets at most
                all but one, so that no tenant stops the others.
            timeout_s: Bounds each call, including the wait for its connection and its permit. A
                request for balances may wait for the call before, as long as its own deadline.
        """
        self._connections = connections
        self._traffic = traffic
        self._timeout_s = timeout_s
        self._in_flight = asyncio.Semaphore(in_flight_max)
        self._turns_max = max(1, in_flight_max - 1)
        # A tenant's entry lives as long as one of their reads.
        self._turns: WeakValueDictionary[str, _Turns] = WeakValueDictionary()
        self._projected = self._balance_batcher(strong=False)
        self._strong = self._balance_batcher(strong=True)

    async def balances(self, home: Home, account_id: str, *, strong: bool) -> list[Record]:
        """Give an account's balances in order of currency; none if it is unknown.

        Raises:
            Overloaded, Unavailable: As for `connection`.
        """
        batcher = self._strong if strong else self._projected
        return await batcher.submit(home, account_id)

    @asynccontextmanager
    async def connection(
        self, home: Home, call: str, *, is_shared: bool = False
    ) -> AsyncIterator[Connection]:
        """Lend a connection for any other read.

        Args:
            home: The tenant's.
            call: The read's name in metrics.
            is_shared: Whether all streams of the tenant wait for it: then it waits for no other
                read of theirs.

        Raises:
            Overloaded, Unavailable: The read took too long, or the database does not answer.
        """
        turns = self._turns_of(home)
        async with (
            self._measured(home, call),
            nullcontext() if is_shared else turns.other_reads,
            turns.all,
            self._lent(home) as connection,
        ):
            yield connection

    async def drain(self) -> None:
        """Wait until every submitted request has its result."""
        await self._projected.drain()
        await self._strong.drain()

    def _balance_batcher(self, *, strong: bool) -> Batcher[str, list[Record]]:
        return Batcher(
            partial(self._read_balances, strong=strong),
            name="strong_balances" if strong else "balances",
            call_weight_max=ACCOUNTS_PER_CALL_MAX,
            waiting_weight_max=WAITING_PER_TENANT_MAX,
            all_waiting_weight_max=WAITING_MAX,
        )

    async def _read_balances(
        self, home: Home, take: Take[str], *, strong: bool
    ) -> list[list[Record]]:
        call = "strong_balances" if strong else "balances"
        turns = self._turns_of(home)
        async with self._measured(home, call) as read, turns.all, self._lent(home) as connection:
            account_ids = take()
            ACCOUNTS_PER_CALL.labels(call).observe(len(account_ids))
            rows = await ledger.balances(connection, list(set(account_ids)), strong=strong)
            read.rows = len(rows)
        found: defaultdict[str, list[Record]] = defaultdict(list)
        for row in rows:
            found[row["account_id"]].append(row)
        return [found[account_id] for account_id in account_ids]

    @asynccontextmanager
    async def _lent(self, home: Home) -> AsyncIterator[Connection]:
        """Lend a connection, with a permit to use it.

        A read takes its turn, then a connection, then a permit, always in this order: so there is
        no deadlock, and a read that still connects holds no permit. A slow call returns its permit.
        """
        async with self._connections.use(home) as connection, permit(self._in_flight):
            yield connection

    def _turns_of(self, home: Home) -> _Turns:
        turns = self._turns.get(home.tenant_id)
        if turns is None:
            turns = self._turns[home.tenant_id] = _Turns(self._turns_max)
        return turns

    @asynccontextmanager
    async def _measured(self, home: Home, call: str) -> AsyncIterator[_Read]:
        """Bound and measure a call, and turn its failures into outages."""
        read = _Read()
        started = time.perf_counter()
        try:
            with database_failures():
                async with asyncio.timeout(self._timeout_s):
                    yield read
        finally:
            seconds = time.perf_counter() - started
            LEDGER_CALL_SECONDS.labels(call).observe(seconds)
            self._traffic.read(home.tenant_id, call, seconds, read.rows)
