"""The pool: databases made ahead, so that whoever makes a tenant need not wait for one.

Filled up in the background by one replica at a time, and with what this release makes only. What a
crash left half-made, and what an earlier release made, is dropped.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_SCHEMA
from freehold.security.sealing import KeyRing
from freehold.service.background import Periodic
from freehold.tenancy.catalog import CATALOG_SCHEMA, Catalog
from freehold_tenant_manager.catalog.credentials import new_passwords, seal_passwords
from freehold_tenant_manager.catalog.pool import (
    add_to_pool,
    claim_from_pool,
    forget_in_pool,
    read_pool,
    retire_from_pool,
    show_in_pool,
)
from freehold_tenant_manager.locks import Lock, locked_if_free
from freehold_tenant_manager.metrics import POOL_CLAIMS, POOL_DATABASES
from freehold_tenant_manager.provisioning.tenant_databases import (
    MADE_AS,
    TenantDatabases,
    new_database_name,
)
from freehold_tenant_manager.server import Server

_log = structlog.get_logger(__name__)

_LOOK_EVERY_S = 1.0
_FAULT_PAUSE_S = 15.0
_LOCK_TIMEOUT_S = 5.0
# While releases change, processes of both run: each has its own for so long, and then only one.
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
        catalog_name: str,
        cluster: str,
        size: int,
    ) -> None:
        """Say how many there should be, and where.

        Args:
            catalog: Asked how the pool stands.
            server: Where databases are made; the catalog is on it, too.
            databases: What makes them.
            key_ring: Seals their roles' passwords.
            catalog_name: The catalog's database, where the pool's lock is.
            cluster: The server's name.
            size: How many are kept ready; none are made for 0.
        """
        self._catalog = catalog
        self._server = server
        self._databases = databases
        self._key_ring = key_ring
        self._catalog_name = catalog_name
        self._cluster = cluster
        self._size = size
        # One whose passwords an old key has sealed would be lost with that key.
        self._made_as = f"{MADE_AS}:{key_ring.sealing_key_id}"
        self._waiting = 0
        self._ready = 0
        self._filling = Periodic("filling the pool", self._fill, pause_s=_LOOK_EVERY_S)

    async def open(self) -> None:
        """Begin to keep it full."""
        await self._filling.open()

    async def close(self) -> None:
        """End, in the middle of making one if need be: the next process drops that."""
        await self._filling.close()

    async def claim(self, connection: Connection) -> str | None:
        """Choose a database for a tenant; None where none is ready.

        Args:
            connection: To the catalog, in the transaction that gives it to the tenant.
        """
        name = await claim_from_pool(connection, self._cluster, self._made_as)
        if name is not None:
            POOL_CLAIMS.inc()
            # Until the next look says so, too.
            POOL_DATABASES.dec()
        return name

    @contextmanager
    def standing_back(self) -> Iterator[None]:
        """Have none made ahead for a while: somebody waits for one to be made for them.

        Two that are made at once take twice as long each.
        """
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def refill(self) -> bool:
        """Drop what nobody will be given and make one database; say whether more are wanted.

        Raises:
            Problem, OSError, TimeoutError, asyncpg.PostgresError, ExceptionGroup: It cannot be
                done now; what was begun is dropped next time.
        """
        async with self._catalog.connection() as connection:
            state = await read_pool(connection, self._cluster, self._made_as, stale_s=_STALE_S)
        self._note(state.ready)
        if state.ready >= self._size and not state.to_drop:
            return False
        # A connection of its own: what this takes long for must keep none from those who ask.
        async with (
            self._server.connection(self._catalog_name, search_path=CATALOG_SCHEMA) as connection,
            locked_if_free(connection, Lock.POOL, self._cluster, timeout_s=_LOCK_TIMEOUT_S) as held,
        ):
            if not held:
                return False
            faults = await self._drop_useless(connection)
            # Another replica may have been at work since the look above.
            state = await read_pool(connection, self._cluster, self._made_as, stale_s=_STALE_S)
            if state.ready < self._size:
                await self._make_one(connection)
                self._note(state.ready + 1)
        if faults:
            raise ExceptionGroup("databases not dropped from the pool yet", faults)
        return state.ready + 1 < self._size

    async def _fill(self) -> bool:
        if self._waiting:
            return False
        started = time.monotonic()
        try:
            more = await self.refill()
        except Exception:  # noqa: BLE001 (tenants are made without it, and it may pass)
            _log.exception("pool not filled", retry_in_s=_FAULT_PAUSE_S)
            await asyncio.sleep(_FAULT_PAUSE_S)
            return False
        if more and self._ready * 2 >= self._size:
            # There is no hurry: whoever else needs the server comes first.
            await asyncio.sleep(time.monotonic() - started)
        return more

    def _note(self, ready: int) -> None:
        self._ready = ready
        POOL_DATABASES.set(ready)

    async def _drop_useless(self, connection: Connection) -> list[Exception]:
        """Drop what nobody will be given; give what kept some of it from being dropped."""
        faults = []
        # Half-made ones, too: we hold the lock, so nobody is making one.
        names = await retire_from_pool(connection, self._cluster, self._made_as, stale_s=_STALE_S)
        for name in names:
            try:
                await self._databases.remove(connection, name)
                await forget_in_pool(connection, name)
            except Exception as error:  # noqa: BLE001 (the others are not to wait for it)
                faults.append(error)
            else:
                _log.info("database dropped from the pool", database=name)
        return faults

    async def _make_one(self, connection: Connection) -> None:
        name, passwords = new_database_name(), new_passwords()
        credentials = seal_passwords(self._key_ring, name, passwords)
        await add_to_pool(connection, name, self._cluster, self._made_as, credentials)
        await self._databases.make(connection, name, LEDGER_SCHEMA, passwords)
        await show_in_pool(connection, name)
        _log.info("database made for the pool", database=name)
