"""Reads of tenants' databases: coalesced where requests can share one, and always with a deadline.

A strong read includes every event committed before its request came in, because an item joins only
calls that begin after it was submitted.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from uuid import UUID
from weakref import WeakValueDictionary

from prometheus_client import Histogram

from freehold.ledger import client as ledger
from freehold.ledger.client import Connection, Lag, Record
from freehold.service.metrics import LEDGER_CALL_SECONDS
from freehold.service.places import place
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.failures import database_failures
from freehold.tenancy.homes import Home
from freehold.tenancy.lanes import Lanes, Take

ACCOUNTS_PER_CALL_MAX = 1_000
WAITING_PER_TENANT_MAX = 10_000
WAITING_MAX = 50_000
# Balances have their lanes. Of all other reads, this many of a tenant go at once, and the rest of
# them wait in a line of their own, not in front of the tenant's balances.
OTHER_READS_PER_TENANT_MAX = 2

ACCOUNTS_PER_CALL = Histogram(
    "freehold_query_accounts_per_call",
    "How many requests for an account's balances shared one call.",
    ["call"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
)


class _Turns:
    """One tenant's part of all that may be in flight."""

    def __init__(self, turns_max: int) -> None:
        self.all = asyncio.Semaphore(turns_max)
        self.other_reads = asyncio.Semaphore(OTHER_READS_PER_TENANT_MAX)


class Reads:
    """What query reads, each from the tenant's own database."""

    def __init__(
        self, connections: TenantConnections, *, in_flight_max: int, timeout_s: float
    ) -> None:
        """Set up.

        Args:
            connections: Lends connections to tenants' databases.
            in_flight_max: Calls under way at once, of all tenants together. A single tenant gets
                all but one of them, so that no tenant stops the others.
            timeout_s: Bounds each call, with the wait for its connection and its place in flight.
                Balances may have waited for the calls before theirs, which no more than the
                request's own deadline bounds.
        """
        self._connections = connections
        self._timeout_s = timeout_s
        self._in_flight = asyncio.Semaphore(in_flight_max)
        self._turns_max = max(1, in_flight_max - 1)
        # A tenant's stay known for as long as any of their reads is under way.
        self._turns: WeakValueDictionary[str, _Turns] = WeakValueDictionary()
        self._projected = self._balance_lanes(strong=False)
        self._strong = self._balance_lanes(strong=True)

    async def balances(self, home: Home, account_id: str, *, strong: bool) -> list[Record]:
        """Give an account's balances in order of currency; none where it was never seen.

        Raises:
            Problem: overloaded or unavailable, as for every read here.
        """
        lanes = self._strong if strong else self._projected
        return await lanes.submit(home, account_id)

    async def list_balances(
        self,
        home: Home,
        *,
        account_prefix: str | None,
        currency: str | None,
        least: int | None,
        most: int | None,
        after: tuple[str, str] | None,
        rows_max: int,
    ) -> list[Record]:
        """List balances in order of account and currency, after a given pair of the two."""
        async with self._other_read(home, "list_balances") as connection:
            return await ledger.list_balances(
                connection,
                account_prefix=account_prefix,
                currency=currency,
                least=least,
                most=most,
                after=after,
                rows_max=rows_max,
            )

    async def events(
        self, home: Home, *, account_id: str | None, after: UUID | None, rows_max: int
    ) -> list[Record]:
        """List events in ledger order, after a given one, of one account or of all."""
        async with self._other_read(home, "events") as connection:
            return await ledger.events(
                connection, account_id=account_id, after=after, rows_max=rows_max
            )

    async def event(self, home: Home, event_id: UUID) -> Record | None:
        """Give one event, or None where this tenant's ledger has none of this id."""
        async with self._other_read(home, "event") as connection:
            return await ledger.event(connection, event_id)

    async def legs(self, home: Home, transaction_id: UUID) -> list[Record]:
        """List a transaction's legs; none where this tenant's ledger has none of this id."""
        async with self._other_read(home, "legs") as connection:
            return await ledger.legs(connection, transaction_id)

    async def hold_events(self, home: Home, hold_id: UUID) -> list[Record]:
        """List what happened to a hold; nothing where this tenant's ledger has none of this id."""
        async with self._other_read(home, "hold_events") as connection:
            return await ledger.hold_events(connection, hold_id)

    async def lag(self, home: Home) -> Lag:
        """Say how far the tenant's state is behind their ledger."""
        async with self._other_read(home, "projection_lag") as connection:
            return await ledger.projection_lag(connection)

    async def drain(self) -> None:
        """Wait until everything submitted has its result."""
        await self._projected.drain()
        await self._strong.drain()

    def _balance_lanes(self, *, strong: bool) -> Lanes[str, list[Record]]:
        return Lanes(
            partial(self._read_balances, strong=strong),
            call_weight_max=ACCOUNTS_PER_CALL_MAX,
            waiting_weight_max=WAITING_PER_TENANT_MAX,
            all_waiting_weight_max=WAITING_MAX,
        )

    async def _read_balances(
        self, home: Home, take: Take[str], *, strong: bool
    ) -> list[list[Record]]:
        call = "strong_balances" if strong else "balances"
        turns = self._turns_of(home)
        async with self._measured(call), turns.all, self._place(home) as connection:
            account_ids = take()
            ACCOUNTS_PER_CALL.labels(call).observe(len(account_ids))
            rows = await ledger.balances(connection, list(set(account_ids)), strong=strong)
        found: defaultdict[str, list[Record]] = defaultdict(list)
        for row in rows:
            found[row["account_id"]].append(row)
        return [found[account_id] for account_id in account_ids]

    @asynccontextmanager
    async def _other_read(self, home: Home, call: str) -> AsyncIterator[Connection]:
        turns = self._turns_of(home)
        async with (
            self._measured(call),
            turns.other_reads,
            turns.all,
            self._place(home) as connection,
        ):
            yield connection

    @asynccontextmanager
    async def _place(self, home: Home) -> AsyncIterator[Connection]:
        """Lend a connection and a place in flight.

        Whoever reads takes their turn first, then a connection, then the place, always in this
        order: so nobody waits in a circle, and whoever still connects keeps no place from others.
        Nor does a call that takes long: then it waits for something else.
        """
        async with self._connections.use(home) as connection, place(self._in_flight):
            yield connection

    def _turns_of(self, home: Home) -> _Turns:
        turns = self._turns.get(home.tenant_id)
        if turns is None:
            turns = self._turns[home.tenant_id] = _Turns(self._turns_max)
        return turns

    @asynccontextmanager
    async def _measured(self, call: str) -> AsyncIterator[None]:
        """Put a deadline and a clock on a call, and turn its failures into problems."""
        with database_failures(), LEDGER_CALL_SECONDS.labels(call).time():
            async with asyncio.timeout(self._timeout_s):
                yield
