"""Connections to tenants' databases: each tenant has a database, and all share one budget.

A connection is opened on demand and kept while it is used. Where the budget is spent, the
connection that has been idle longest is closed for the next request. A tenant never holds more
than its own limit. Requests wait in order of arrival, skip those whose tenant is at its limit, and
are refused after a timeout.

A password may be replaced at any time: after a refused login the new one is looked up, once.
"""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import asyncpg
import structlog

from freehold.contracts.errors import Overloaded, Unavailable
from freehold.database.failures import DRIVER_ERRORS, database_failures
from freehold.database.tls import OPPORTUNISTIC, Tls
from freehold.ledger.client import SESSION_SETTINGS, Connection
from freehold.observability.metrics import TENANT_CONNECTION_WAITS, TENANT_CONNECTIONS_OPENED
from freehold.tenants.homes import Home

_log = structlog.get_logger(__name__)
_CONNECT_TIMEOUT_S = 3.0
_SILENT_S = 1.0
_WAITING_MAX = 1_000
"""More requests than this would not get a connection before their timeout."""

Renew = Callable[[Home], Awaitable[Home | None]]
"""Looks up a tenant's home again, after its database refused the password in the given one."""


class _Endpoint(NamedTuple):
    """What connections may stand in for each other have in common."""

    host: str
    port: int
    database: str
    role: str


def _endpoint(home: Home) -> _Endpoint:
    return _Endpoint(home.host, home.port, home.database, home.role)


@dataclass(frozen=True, slots=True)
class _Slot:
    """A part of the budget: a connection, or the right to open one once `displaced` is closed."""

    connection: Connection | None = None
    displaced: Connection | None = None


@dataclass(slots=True, eq=False)
class _Waiter:
    endpoint: _Endpoint
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
        tls: Tls = OPPORTUNISTIC,
    ) -> None:
        """Set the budget.

        Args:
            application: The name that the server shows for these sessions.
            connections_max: Open connections of all tenants together.
            per_tenant_max: Open connections of one tenant.
            idle_s: A connection unused for this long is closed.
            timeout_s: Bounds waiting for a connection, and every statement.
            renew: Called when a password is refused; without it, the refusal is final.
            tls: How connections are encrypted.
        """
        self._application = application
        self._connections_max = connections_max
        self._per_tenant_max = per_tenant_max
        self._idle_s = idle_s
        self._timeout_s = timeout_s
        self._renew = renew
        self._tls = tls
        self._open: Counter[_Endpoint] = Counter()
        # The endpoint that has been idle longest comes first.
        self._idle: OrderedDict[_Endpoint, list[tuple[float, Connection]]] = OrderedDict()
        # In order of arrival.
        self._waiting: dict[_Waiter, None] = {}
        # Connections being opened or closed; these tasks outlive the request that began them.
        self._under_way: set[asyncio.Task[Any]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._silent_until: dict[tuple[str, int], float] = {}
        self._answered_at: dict[tuple[str, int], float] = {}
        # Servers known to keep the parameters of a connection.
        self._examined: set[tuple[str, int]] = set()
        self._closed = False

    @asynccontextmanager
    async def use(self, home: Home) -> AsyncIterator[Connection]:
        """Lend a connection to a tenant's database. Its failures become outages.

        Raises:
            Overloaded: None came free in time, too many requests wait already, or a statement was
                not answered in time.
            Unavailable: The database does not answer.
            ClocksDisagree: The database's clock and ours do not agree.
            LedgerVersionUnsupported: This release cannot work with the ledger.
        """
        home.require_known_version()
        endpoint = _endpoint(home)
        with database_failures():
            connection = await self._acquire(endpoint, home)
            give_back = self._release
            try:
                yield connection
            except (asyncio.CancelledError, OSError, *DRIVER_ERRORS):
                # Its statement may still run, or the server be silent, and the driver would let the
                # next borrower wait for that without end. An orderly close frees its part of the
                # budget only when the server has ended the session too.
                give_back = self._discard
                raise
            finally:
                give_back(endpoint, connection)

    async def close(self) -> None:
        """Close every idle connection. Those in use are closed when they are given back."""
        self._closed = True
        if self._sweeper:
            self._sweeper.cancel()
        for endpoint in list(self._idle):
            while self._idle.get(endpoint):
                self._discard(endpoint, self._take_idle(endpoint))
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    async def _acquire(self, endpoint: _Endpoint, home: Home) -> Connection:
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep())
        slot = self._slot(endpoint) if self._is_available(endpoint) else await self._wait(endpoint)
        if slot.connection is not None and not slot.connection.is_closed():
            return slot.connection
        # The connection died while it was idle: a new one takes its part of the budget.
        return await self._connect(endpoint, home, slot.displaced)

    def _is_available(self, endpoint: _Endpoint) -> bool:
        if self._idle.get(endpoint):
            return True
        return self._has_room() and self._open[endpoint] < self._per_tenant_max

    def _has_room(self) -> bool:
        return bool(self._idle) or self._open.total() < self._connections_max

    def _slot(self, endpoint: _Endpoint) -> _Slot:
        """Take an idle connection, or room for a new one; closes another's idle one for it."""
        if self._idle.get(endpoint):
            return _Slot(connection=self._take_idle(endpoint))
        displaced = None
        if self._open.total() >= self._connections_max:
            longest_idle = next(iter(self._idle))
            displaced = self._take_idle(longest_idle, oldest=True)
            self._open[longest_idle] -= 1
        self._open[endpoint] += 1
        return _Slot(displaced=displaced)

    async def _wait(self, endpoint: _Endpoint) -> _Slot:
        if len(self._waiting) >= _WAITING_MAX:
            raise Overloaded("too much is waiting for connections to databases already")
        TENANT_CONNECTION_WAITS.inc()
        waiter = _Waiter(endpoint, asyncio.get_running_loop().create_future())
        self._waiting[waiter] = None
        try:
            async with asyncio.timeout(self._timeout_s):
                return await waiter.granted
        except BaseException as error:
            self._abandon(waiter)
            if isinstance(error, TimeoutError):
                raise Overloaded("no connection to the tenant's database came free") from None
            raise

    def _abandon(self, waiter: _Waiter) -> None:
        if waiter in self._waiting:
            del self._waiting[waiter]
        elif waiter.granted.done() and not waiter.granted.cancelled():
            # It was granted while the request gave up.
            slot = waiter.granted.result()
            if slot.connection is not None:
                self._release(waiter.endpoint, slot.connection)
            elif slot.displaced is not None:
                self._discard(waiter.endpoint, slot.displaced)
            else:
                self._forget(waiter.endpoint)

    async def _connect(
        self, endpoint: _Endpoint, home: Home, displaced: Connection | None
    ) -> Connection:
        """Open a connection. If the request gives up meanwhile, the connection becomes idle."""
        opening = asyncio.create_task(self._open_one(endpoint, home, displaced))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(partial(self._keep, endpoint))
            self._track(opening)
            raise

    async def _open_one(
        self, endpoint: _Endpoint, home: Home, displaced: Connection | None
    ) -> Connection:
        server = (home.host, home.port)
        begun = time.monotonic()
        try:
            if displaced is not None:
                # First, so that the servers never have more connections than the budget.
                await _close(displaced)
            self._refuse_silent(home)
            connection = await self._enter(home)
            if server not in self._examined:
                await self._examine(connection, home)
                self._examined.add(server)
        except BaseException as error:
            self._forget(endpoint)
            # It is not silent if it answered another request since this one began.
            if isinstance(error, OSError) and self._answered_at.get(server, 0) < begun:
                self._silent_until[server] = time.monotonic() + _SILENT_S
            if isinstance(error, OSError | asyncpg.PostgresError):
                _log.warning(
                    "tenant database unreachable", database=home.database, fault=repr(error)
                )
                raise Unavailable("the tenant's database does not answer") from error
            raise
        self._answered_at[server] = time.monotonic()
        TENANT_CONNECTIONS_OPENED.inc()
        return connection

    async def _enter(self, home: Home) -> Connection:
        """Log in with the current password.

        Raises:
            Unavailable: The catalog, asked for the current password, does not answer.
            OSError, asyncpg.PostgresError: The login failed.
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
                # The budget counted this connection for the endpoint of `home`.
                or _endpoint(renewed) != _endpoint(home)
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
            ssl=self._tls.context,
            timeout=timeout_s,
            command_timeout=self._timeout_s,
            server_settings=self._parameters(home),
        )

    def _parameters(self, home: Home) -> dict[str, str]:
        return {
            **SESSION_SETTINGS,
            "application_name": self._application,
            "search_path": home.schema,
            "statement_timeout": str(round(self._timeout_s * 1000)),
            "jit": "off",
        }

    async def _examine(self, connection: Connection, home: Home) -> None:
        """Check that the server got the parameters: poolers drop them, among them the deadline.

        Raises:
            Unavailable: It did not.
        """
        sent = self._parameters(home)
        try:
            rows = await connection.fetch(
                "SELECT name, setting FROM pg_settings WHERE name = ANY ($1::text[])",
                ["search_path", "statement_timeout"],
                timeout=_CONNECT_TIMEOUT_S,
            )
        except BaseException:
            connection.terminate()
            raise
        dropped = [row["name"] for row in rows if row["setting"] != sent[row["name"]]]
        if dropped:
            connection.terminate()
            _log.error(
                "a pooler before the tenants' databases drops parameters; name the server itself",
                server=f"{home.host}:{home.port}",
                parameters=sorted(dropped),
            )
            raise Unavailable("the tenant's database is behind a pooler that drops parameters")

    def _keep(self, endpoint: _Endpoint, opening: asyncio.Task[Connection]) -> None:
        # After a failure, its part of the budget is free already.
        if not opening.cancelled() and opening.exception() is None:
            self._release(endpoint, opening.result())

    def _refuse_silent(self, home: Home) -> None:
        """Give up at once on a server that did not answer in the last second.

        Otherwise every tenant on a dead server would wait for it in turn.
        """
        if self._silent_until.get((home.host, home.port), 0) > time.monotonic():
            raise Unavailable("the tenant's database server does not answer")

    def _release(self, endpoint: _Endpoint, connection: Connection) -> None:
        if self._closed or connection.is_closed() or connection.is_in_transaction():
            self._discard(endpoint, connection)
            return
        self._idle.setdefault(endpoint, []).append((time.monotonic(), connection))
        self._idle.move_to_end(endpoint)
        self._grant()

    def _take_idle(self, endpoint: _Endpoint, *, oldest: bool = False) -> Connection:
        idle = self._idle[endpoint]
        _, connection = idle.pop(0 if oldest else -1)
        if not idle:
            del self._idle[endpoint]
        return connection

    def _discard(self, endpoint: _Endpoint, connection: Connection) -> None:
        async def close() -> None:
            await _close(connection)
            self._forget(endpoint)

        self._track(asyncio.create_task(close()))

    def _track(self, task: asyncio.Task[Any]) -> None:
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _forget(self, endpoint: _Endpoint) -> None:
        self._open[endpoint] -= 1
        self._open += Counter()  # drops endpoints with none left
        self._grant()

    def _grant(self) -> None:
        """Serve waiting requests in order of arrival, except those whose tenant is at its limit."""
        for waiter in list(self._waiting):
            if not self._has_room():
                return
            if waiter.granted.done() or not self._is_available(waiter.endpoint):
                continue
            del self._waiting[waiter]
            waiter.granted.set_result(self._slot(waiter.endpoint))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._idle_s / 4)
            stale = time.monotonic() - self._idle_s
            for endpoint, idle in list(self._idle.items()):
                kept = [entry for entry in idle if entry[0] > stale and not entry[1].is_closed()]
                dropped = [entry[1] for entry in idle if entry not in kept]
                if kept:
                    self._idle[endpoint] = kept
                else:
                    del self._idle[endpoint]
                for connection in dropped:
                    self._discard(endpoint, connection)


async def _close(connection: Connection) -> None:
    with suppress(OSError, TimeoutError, asyncpg.PostgresError, *DRIVER_ERRORS):
        await connection.close(timeout=2)
