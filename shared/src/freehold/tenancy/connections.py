"""Connections to tenants' databases: a database each means a connection each, within one budget.

Opened on demand, kept while used, the longest idle given up for whoever needs one. A tenant never
holds more than its share, waiting is first come first served among those who can be served, and
nobody waits without end.

A password may be replaced at any time: whoever is refused asks for the new one and tries again.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg
import structlog

from freehold.contracts.problems import overloaded, unavailable
from freehold.ledger.client import Connection
from freehold.service.metrics import TENANT_CONNECTION_WAITS, TENANT_CONNECTIONS_OPENED
from freehold.tenancy.failures import DRIVER_ERRORS
from freehold.tenancy.homes import Home

_log = structlog.get_logger(__name__)
_CONNECT_TIMEOUT_S = 3.0
_SILENT_S = 1.0
_WAITING_MAX = 1_000
"""Each waits for a moment's work, so that those who come later would wait in vain."""

Renew = Callable[[Home], Awaitable[Home | None]]
"""Says where a tenant lives now whose database refuses the password in a home."""

Place = tuple[str, int, str, str]
"""Server, port, database and role: connections to the same place are interchangeable."""


def _place(home: Home) -> Place:
    return (home.host, home.port, home.database, home.role)


@dataclass(frozen=True, slots=True)
class _Slot:
    """A place within the budget: a connection, or leave to open one once `displaced` is closed."""

    connection: Connection | None = None
    displaced: Connection | None = None


@dataclass(slots=True, eq=False)
class _Waiter:
    place: Place
    granted: asyncio.Future[_Slot]


class TenantConnections:
    """The connections of one process to all tenants' databases."""

    def __init__(
        self,
        *,
        application: str,
        connections_max: int,
        per_tenant_max: int,
        idle_s: float,
        timeout_s: float,
        renew: Renew | None = None,
    ) -> None:
        """Set the budget.

        Args:
            application: Named to the server, for whoever looks at its sessions.
            connections_max: Open connections, all told.
            per_tenant_max: Open connections of one tenant.
            idle_s: A connection unused for this long is closed.
            timeout_s: Bounds waiting for a connection, and every statement.
            renew: Asked where a password is refused; without it, that is the end.
        """
        self._application = application
        self._connections_max = connections_max
        self._per_tenant_max = per_tenant_max
        self._idle_s = idle_s
        self._timeout_s = timeout_s
        self._renew = renew
        self._open: Counter[Place] = Counter()
        # The longest idle place stands first.
        self._idle: OrderedDict[Place, list[tuple[float, Connection]]] = OrderedDict()
        # In the order they came.
        self._waiting: dict[_Waiter, None] = {}
        # What outlives its borrower: connections being opened or closed.
        self._under_way: set[asyncio.Task[Any]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._silent_until: dict[tuple[str, int], float] = {}
        self._answered_at: dict[tuple[str, int], float] = {}
        self._closed = False

    @asynccontextmanager
    async def use(self, home: Home) -> AsyncIterator[Connection]:
        """Lend a connection to a tenant's database.

        Raises:
            Problem: overloaded where none came free in time, or too many wait for one already;
                unavailable where the database does not answer; ledger-version-unsupported where
                this release cannot work with it.
        """
        home.require_known_version()
        place = _place(home)
        connection = await self._acquire(place, home)
        give_back = self._release
        try:
            yield connection
        except (asyncio.CancelledError, OSError, *DRIVER_ERRORS):
            # Its statement may still be under way, or the server silent: the driver would let the
            # next borrower wait for that without end. Ended in order, it leaves its place to
            # another only when the server has let go of it, too.
            give_back = self._discard
            raise
        finally:
            give_back(place, connection)

    async def close(self) -> None:
        """Close every idle connection; those lent out close as they come back."""
        self._closed = True
        if self._sweeper:
            self._sweeper.cancel()
        for place in list(self._idle):
            while self._idle.get(place):
                self._discard(place, self._take_idle(place))
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    async def _acquire(self, place: Place, home: Home) -> Connection:
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())
        slot = self._slot(place) if self._grantable(place) else await self._wait(place)
        if slot.connection is not None and not slot.connection.is_closed():
            return slot.connection
        # One that died while it lay idle leaves its place within the budget to a new one.
        return await self._connect(place, home, slot.displaced)

    def _grantable(self, place: Place) -> bool:
        if self._idle.get(place):
            return True
        return self._room() and self._open[place] < self._per_tenant_max

    def _room(self) -> bool:
        return bool(self._idle) or self._open.total() < self._connections_max

    def _slot(self, place: Place) -> _Slot:
        """Take an idle connection, or a place for a new one, at another's cost where need be."""
        if self._idle.get(place):
            return _Slot(connection=self._take_idle(place))
        displaced = None
        if self._open.total() >= self._connections_max:
            longest_idle = next(iter(self._idle))
            displaced = self._take_idle(longest_idle, oldest=True)
            self._open[longest_idle] -= 1
        self._open[place] += 1
        return _Slot(displaced=displaced)

    async def _wait(self, place: Place) -> _Slot:
        if len(self._waiting) >= _WAITING_MAX:
            raise overloaded("too much is waiting for connections to databases already")
        TENANT_CONNECTION_WAITS.inc()
        waiter = _Waiter(place, asyncio.get_running_loop().create_future())
        self._waiting[waiter] = None
        try:
            async with asyncio.timeout(self._timeout_s):
                return await waiter.granted
        except BaseException as error:
            self._abandon(waiter)
            if isinstance(error, TimeoutError):
                raise overloaded("no connection to the tenant's database came free") from None
            raise

    def _abandon(self, waiter: _Waiter) -> None:
        if waiter in self._waiting:
            del self._waiting[waiter]
        elif waiter.granted.done() and not waiter.granted.cancelled():
            # Granted in the very moment of giving up: pass it on.
            slot = waiter.granted.result()
            if slot.connection is not None:
                self._release(waiter.place, slot.connection)
            elif slot.displaced is not None:
                self._discard(waiter.place, slot.displaced)
            else:
                self._forget(waiter.place)

    async def _connect(self, place: Place, home: Home, displaced: Connection | None) -> Connection:
        """Open a connection. It is kept for others where whoever wanted it gives up meanwhile."""
        opening = asyncio.create_task(self._open_one(place, home, displaced))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(partial(self._keep, place))
            self._outlives(opening)
            raise

    async def _open_one(self, place: Place, home: Home, displaced: Connection | None) -> Connection:
        server = (home.host, home.port)
        begun = time.monotonic()
        try:
            if displaced is not None:
                # Closed first, so that the server never sees more than the budget.
                await _close(displaced)
            self._refuse_silent(home)
            connection = await self._enter(home)
        except BaseException as error:
            self._forget(place)
            # Others may have been let in since this one began to wait.
            if isinstance(error, OSError) and self._answered_at.get(server, 0) < begun:
                self._silent_until[server] = time.monotonic() + _SILENT_S
            if isinstance(error, OSError | asyncpg.PostgresError):
                _log.warning(
                    "tenant database unreachable", database=home.database, fault=repr(error)
                )
                raise unavailable("the tenant's database does not answer") from error
            raise
        self._answered_at[server] = time.monotonic()
        TENANT_CONNECTIONS_OPENED.inc()
        return connection

    async def _enter(self, home: Home) -> Connection:
        """Log in, with the password as it is now.

        Raises:
            Problem: unavailable, where the catalog does not say which one that is.
            OSError, asyncpg.PostgresError: The server does not let us in.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(_CONNECT_TIMEOUT_S, self._timeout_s)
        try:
            return await self._log_in(home, deadline - loop.time())
        except asyncpg.InvalidPasswordError:
            renewed = await self._renew(home) if self._renew else None
            left_s = deadline - loop.time()
            if (
                renewed is None
                or left_s <= 0
                # At another place, the budget would be told of the wrong one.
                or _place(renewed) != _place(home)
                or renewed.password == home.password
            ):
                raise
            return await self._log_in(renewed, left_s)

    async def _log_in(self, home: Home, timeout_s: float) -> Connection:
        return await asyncpg.connect(
            host=home.host,
            port=home.port,
            database=home.database,
            user=home.role,
            password=home.password,
            timeout=timeout_s,
            command_timeout=self._timeout_s,
            server_settings={
                "application_name": self._application,
                "search_path": home.schema,
                "statement_timeout": str(round(self._timeout_s * 1000)),
                "timezone": "UTC",
                "jit": "off",
            },
        )

    def _keep(self, place: Place, opening: asyncio.Task[Connection]) -> None:
        # Where it failed, its place has come free already, and nobody is left to hear of it.
        if not opening.cancelled() and opening.exception() is None:
            self._release(place, opening.result())

    def _refuse_silent(self, home: Home) -> None:
        """Give up at once on a server that just did not answer.

        Every tenant on a dead server would otherwise wait for it in turn.
        """
        if self._silent_until.get((home.host, home.port), 0) > time.monotonic():
            raise unavailable("the tenant's database server does not answer")

    def _release(self, place: Place, connection: Connection) -> None:
        if self._closed or connection.is_closed() or connection.is_in_transaction():
            self._discard(place, connection)
            return
        self._idle.setdefault(place, []).append((time.monotonic(), connection))
        self._idle.move_to_end(place)
        self._grant()

    def _take_idle(self, place: Place, *, oldest: bool = False) -> Connection:
        idle = self._idle[place]
        _, connection = idle.pop(0 if oldest else -1)
        if not idle:
            del self._idle[place]
        return connection

    def _discard(self, place: Place, connection: Connection) -> None:
        async def close() -> None:
            await _close(connection)
            self._forget(place)

        self._outlives(asyncio.create_task(close()))

    def _outlives(self, task: asyncio.Task[Any]) -> None:
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _forget(self, place: Place) -> None:
        self._open[place] -= 1
        self._open += Counter()  # drops places that have none left
        self._grant()

    def _grant(self) -> None:
        """Serve whoever waited longest and can be served; a full tenant does not block others."""
        for waiter in list(self._waiting):
            if not self._room():
                return
            if waiter.granted.done() or not self._grantable(waiter.place):
                continue
            del self._waiting[waiter]
            waiter.granted.set_result(self._slot(waiter.place))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._idle_s / 4)
            stale = time.monotonic() - self._idle_s
            for place, idle in list(self._idle.items()):
                kept = [entry for entry in idle if entry[0] > stale and not entry[1].is_closed()]
                dropped = [entry[1] for entry in idle if entry not in kept]
                if kept:
                    self._idle[place] = kept
                else:
                    del self._idle[place]
                for connection in dropped:
                    self._discard(place, connection)


async def _close(connection: Connection) -> None:
    with suppress(OSError, TimeoutError, asyncpg.PostgresError, *DRIVER_ERRORS):
        await connection.close(timeout=2)
