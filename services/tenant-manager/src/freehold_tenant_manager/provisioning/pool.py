"""The pool: databases made ahead of their tenants, so that making a tenant is fast.

One replica at a time fills it in the background, with databases of its own release. Databases of
earlier releases, and those that a crash left half-made, are dropped.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from freehold.aio.periodic import Periodic
from freehold.contracts.errors import DomainError
from freehold.database.failures import is_passing
from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_SCHEMA
from freehold.security.key_ring import KeyRing
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.credentials.store import add_credentials, find_passwords
from freehold_tenant_manager.metrics import POOL_CLAIMS, POOL_DATABASES
from freehold_tenant_manager.provisioning.store import (
    add_to_pool,
    claim_from_pool,
    forget_in_pool,
    read_pool,
    retire_from_pool,
    show_in_pool,
)
from freehold_tenant_manager.provisioning.tenant_databases import (
    MADE_AS,
    TenantDatabases,
    new_database_name,
)
from freehold_tenant_manager.server.locks import Lock, locked_if_free
from freehold_tenant_manager.server.server import Server

_log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 1.0
_FAULT_PAUSE_S = 15.0
# During an upgrade processes of two releases run; each keeps its databases for this long.
_STALE_S = 600.0


class Pool:
    """The databases of one cluster that wait for tenants."""

    def __init__(
        self,
        catalog: Catalog,
        server: Server,
        databases: TenantDatabases,
        key_ring: KeyRing,
        *,
        cluster: str,
        size: int,
    ) -> None:
        """Make the pool of a cluster's server; it keeps `size` databases ready, 0 for none."""
        self._catalog = catalog
        self._server = server
        self._databases = databases
        self._key_ring = key_ring
        self._cluster = cluster
        self._size = size
        # Databases whose passwords an older key sealed are not used: that key may be removed.
        self._made_as = f"{MADE_AS}:{key_ring.sealing_key_id}"
        self._waiting = 0
        self._ready = 0
        self._filling = Periodic("filling the pool", self._fill, pause_s=_LOOK_EVERY_S)

    async def open(self) -> None:
        """Begin to fill the pool."""
        await self._filling.open()

    async def close(self) -> None:
        """End; a half-made database is dropped by the next process."""
        await self._filling.close()

    async def claim(self, connection: Connection) -> str | None:
        """Choose a database for a tenant in the caller's transaction; None where none is ready."""
        name = await claim_from_pool(connection, self._cluster, self._made_as)
        if name is not None:
            POOL_CLAIMS.inc()
            # Until the next look counts them.
            POOL_DATABASES.dec()
        return name

    @contextmanager
    def standing_back(self) -> Iterator[None]:
        """Make none ahead for a while, since a request waits for its own database.

        Two databases that are made at once take twice as long each.
        """
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def refill(self) -> bool:
        """Drop useless databases, and make one; say whether more are wanted.

        Raises:
            DomainError, OSError, TimeoutError, asyncpg.PostgresError, ExceptionGroup: A step
                failed; what was begun is dropped next time.
        """
        async with self._catalog.connection() as connection:
            state = await read_pool(connection, self._cluster, self._made_as, stale_s=_STALE_S)
        self._count(state.ready)
        if state.ready >= self._size and not state.to_drop:
            return False
        async with (
            self._server.catalog() as connection,
            locked_if_free(connection, Lock.POOL, self._cluster) as held,
        ):
            if not held:
                return False
            faults = await self._drop_useless(connection)
            # Another replica may have changed the pool since the look above.
            state = await read_pool(connection, self._cluster, self._made_as, stale_s=_STALE_S)
            if state.ready < self._size:
                await self._make_one(connection)
                self._count(state.ready + 1)
        if faults:
            raise ExceptionGroup("databases not dropped from the pool yet", faults)
        return state.ready + 1 < self._size

    async def _fill(self) -> bool:
        if self._waiting:
            return False
        started = time.monotonic()
        try:
            more = await self.refill()
        except Exception as error:  # noqa: BLE001 (tenants are made without the pool)
            if isinstance(error, DomainError) or is_passing(error):
                _log.warning("pool not filled", fault=str(error), retry_in_s=_FAULT_PAUSE_S)
            else:
                _log.exception("pool not filled", retry_in_s=_FAULT_PAUSE_S)
            await asyncio.sleep(_FAULT_PAUSE_S)
            return False
        if more and self._ready * 2 >= self._size:
            # Other users of the server come first.
            await asyncio.sleep(time.monotonic() - started)
        return more

    def _count(self, ready: int) -> None:
        self._ready = ready
        POOL_DATABASES.set(ready)

    async def _drop_useless(self, connection: Connection) -> list[Exception]:
        """Drop useless databases; return the errors of those that were not dropped."""
        faults = []
        # Half-made ones as well: under the lock, no other process is making one.
        names = await retire_from_pool(connection, self._cluster, self._made_as, stale_s=_STALE_S)
        for name in names:
            try:
                await self._databases.remove(connection, name)
                await forget_in_pool(connection, name)
            except Exception as error:  # noqa: BLE001 (any fault: the others do not wait for it)
                faults.append(error)
            else:
                _log.info("database dropped from the pool", database=name)
        return faults

    async def _make_one(self, connection: Connection) -> None:
        name = new_database_name()
        async with connection.transaction():
            await add_to_pool(connection, name, self._cluster, self._made_as)
            await add_credentials(connection, self._key_ring, name)
        passwords = await find_passwords(connection, self._key_ring, name)
        await self._databases.make(connection, name, LEDGER_SCHEMA, passwords)
        await show_in_pool(connection, name)
        _log.info("database made for the pool", database=name)
