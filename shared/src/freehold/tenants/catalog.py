"""A service's connections to the catalog database, and the catalog's change notices."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import asyncpg
import structlog

from freehold.aio.first_contact import FirstContact
from freehold.aio.tasks import end
from freehold.contracts.errors import ClocksDisagree, Overloaded
from freehold.database.failures import database_failures
from freehold.database.fitness import UnfitServerError, examine
from freehold.ledger.client import SESSION_SETTINGS, Connection, Record
from freehold.ledger.clocks import Clock
from freehold.observability.metrics import CLOCK_DIFFERENCE_SECONDS

_log = structlog.get_logger(__name__)

CATALOG_SCHEMA = "catalog"
CHANGES_CHANNEL = "freehold_catalog"
_HEARTBEAT_S = 0.5
_UNFIT_RETRY_S = 5.0
_ASKING_MAX = 1_000
_UNBOUNDED = Clock(math.inf)


class Catalog:
    """A service's connections to the catalog. A service may start before its catalog does."""

    def __init__(
        self,
        dsn: str,
        *,
        application: str,
        timeout_s: float,
        pool_max: int = 4,
        clock: Clock = _UNBOUNDED,
    ) -> None:
        self._dsn = dsn
        self._timeout_s = timeout_s
        self._settings = {
            **SESSION_SETTINGS,
            "application_name": application,
            "search_path": CATALOG_SCHEMA,
        }
        self._pool_max = pool_max
        self._pool: asyncpg.Pool[Record] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._asking = 0
        self._met = asyncio.Event()
        self._clock = clock
        self._ahead_s = 0.0
        self.reachable = False
        self.unfitness: str | None = None
        """Why Freehold cannot rely on the catalog's server, if that was found."""

    async def met(self) -> None:
        """Wait until the catalog has been reached for the first time."""
        await self._met.wait()

    async def open(self, on_change: Callable[[str | None], None] | None = None) -> None:
        """Begin. `on_change` is called with each notice, and with None if some may be missed."""
        self._pool = await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=self._pool_max,
            timeout=self._timeout_s,
            command_timeout=self._timeout_s,
            server_settings=self._settings,
        )
        self._listener = asyncio.create_task(self._listen(on_change or (lambda _: None)))

    async def close(self) -> None:
        """Close all connections, within the timeout."""
        if self._listener:
            await end(self._listener)
        if self._pool:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()

    @property
    def clocks_agree(self) -> bool:
        """Whether the server's clock agreed with this machine's when last compared."""
        return abs(self._ahead_s) <= self._clock.difference_max_s

    @property
    def clock_fault(self) -> str | None:
        """How the clocks differ; None if they agree."""
        return None if self.clocks_agree else _difference(self._ahead_s)

    def agreed_now(self) -> datetime:
        """Give the time, for decisions that one clock alone must not make.

        Raises:
            ClocksDisagree: The server's clock differs too much.
        """
        if (fault := self.clock_fault) is not None:
            raise ClocksDisagree(fault)
        return self._clock.now()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection.

        Raises:
            Unavailable, Overloaded: The catalog does not answer in time, or too many requests wait.
        """
        if self._pool is None:
            raise RuntimeError("the catalog has not been opened")
        if self._asking >= _ASKING_MAX:
            raise Overloaded("too much is waiting for the catalog already")
        self._asking += 1
        try:
            with database_failures("the catalog"):
                async with self._pool.acquire(timeout=self._timeout_s) as connection:
                    yield connection  # type: ignore[misc]  # the stubs' proxy is a connection
        finally:
            self._asking -= 1

    async def fetch(self, query: str, *arguments: Any) -> list[Record]:
        """Run a query and give its rows."""
        async with self.connection() as connection:
            return await connection.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> Record | None:
        """Run a query and give its first row."""
        async with self.connection() as connection:
            return await connection.fetchrow(query, *arguments)

    async def execute(self, query: str, *arguments: Any) -> None:
        """Run a statement."""
        async with self.connection() as connection:
            await connection.execute(query, *arguments)

    async def _compare_clocks(self, connection: Connection) -> None:
        """Measure how far the server's clock is from ours, to within half the round trip."""
        asked_at = self._clock.now()
        server_time: datetime = await connection.fetchval("SELECT clock_timestamp()", timeout=1)
        answered_at = self._clock.now()
        agreed = self.clocks_agree
        self._ahead_s = (server_time - (asked_at + (answered_at - asked_at) / 2)).total_seconds()
        CLOCK_DIFFERENCE_SECONDS.set(self._ahead_s)
        if agreed and not self.clocks_agree:
            _log.error("clocks disagree", fault=self.clock_fault)
        elif self.clocks_agree and not agreed:
            _log.info("clocks agree again")

    async def _listen(self, on_change: Callable[[str | None], None]) -> None:
        """Receive change notices. A heartbeat finds connections that died silently."""
        first = FirstContact("the catalog")
        while True:
            connection: Connection | None = None
            try:
                await examine(self._dsn, timeout_s=self._timeout_s, holds_text=True)
                connection = await asyncpg.connect(
                    self._dsn,
                    timeout=self._timeout_s,
                    command_timeout=self._timeout_s,
                    server_settings=self._settings,
                )
                await connection.add_listener(
                    CHANGES_CHANNEL, lambda _, __, ___, payload: on_change(str(payload))
                )
                await self._compare_clocks(connection)
                # Notices from before this connection are lost.
                on_change(None)
                self.reachable = True
                self.unfitness = None
                self._met.set()
                while True:
                    await self._compare_clocks(connection)
                    await asyncio.sleep(_HEARTBEAT_S)
            except UnfitServerError as error:
                if self.unfitness != str(error):
                    _log.error("the catalog's server cannot be used", reason=str(error))
                self.unfitness = str(error)
            except Exception as error:  # noqa: BLE001 (without notices a revoked key would go on working)
                self.unfitness = None
                if self.reachable:
                    _log.warning("catalog lost", fault=repr(error))
                elif not self._met.is_set():
                    first.log(error)
            finally:
                self.reachable = False
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(self._pause_s(first))

    def _pause_s(self, first: FirstContact) -> float:
        if self.unfitness is not None:
            return _UNFIT_RETRY_S
        return _HEARTBEAT_S if self._met.is_set() else first.pause_s()


def _difference(ahead_s: float) -> str:
    where = "ahead of" if ahead_s > 0 else "behind"
    return f"the catalog server's clock is {abs(ahead_s):.1f} s {where} this service's"
