"""The catalog database as a service reaches it: a small pool, deadlines, and change notices."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import structlog

from freehold.contracts.problems import overloaded
from freehold.ledger.client import Connection, Record
from freehold.tenancy.failures import database_failures

_log = structlog.get_logger(__name__)

CATALOG_SCHEMA = "catalog"
CHANGES_CHANNEL = "freehold_catalog"
_HEARTBEAT_S = 0.5
_ASKING_MAX = 1_000


class Catalog:
    """A service's connections to the catalog. Opens lazily, so a service can start before it."""

    def __init__(self, dsn: str, *, application: str, timeout_s: float, pool_max: int = 4) -> None:
        self._dsn = dsn
        self._timeout_s = timeout_s
        self._settings = {"application_name": application, "search_path": CATALOG_SCHEMA}
        self._pool_max = pool_max
        self._pool: asyncpg.Pool[Record] | None = None
        self._listener: asyncio.Task[None] | None = None
        self._asking = 0
        self.reachable = False

    async def open(self, on_change: Callable[[str | None], None] | None = None) -> None:
        """Begin; `on_change` hears of each change, or None where changes may have been missed."""
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
        """End, within the timeout."""
        if self._listener:
            self._listener.cancel()
            with suppress(asyncio.CancelledError):
                await self._listener
        if self._pool:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._pool.close()
            except TimeoutError:
                self._pool.terminate()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection.

        Raises:
            Problem: unavailable or overloaded, where the catalog does not answer in time or has
                been asked for too much already.
        """
        if self._pool is None:
            raise RuntimeError("the catalog has not been opened")
        if self._asking >= _ASKING_MAX:
            raise overloaded("too much is waiting for the catalog already")
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

    async def _listen(self, on_change: Callable[[str | None], None]) -> None:
        """Hear of changes; a connection that died silently is noticed by its heartbeat."""
        while True:
            connection: Connection | None = None
            try:
                connection = await asyncpg.connect(
                    self._dsn,
                    timeout=self._timeout_s,
                    command_timeout=self._timeout_s,
                    server_settings=self._settings,
                )
                await connection.add_listener(
                    CHANGES_CHANNEL, lambda _, __, ___, payload: on_change(str(payload))
                )
                # What changed while nobody listened is unknown.
                on_change(None)
                self.reachable = True
                while True:
                    await connection.execute("SELECT", timeout=1)
                    await asyncio.sleep(_HEARTBEAT_S)
            except Exception as error:  # noqa: BLE001 (unheard, a revoked key would go on working)
                if self.reachable:
                    _log.warning("catalog lost", fault=repr(error))
            finally:
                self.reachable = False
                if connection is not None:
                    connection.terminate()
            await asyncio.sleep(_HEARTBEAT_S)
