"""Announcement leases: which tenants may have events that are committed and not announced yet.

A lease is in the catalog before a tenant's first append, and stays until the tenant is idle and all
of it is announced. What a dead process left unannounced is found by its leases, however many
tenants there are. A process renews one lease for all of its tenants.
"""

import asyncio
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import asyncpg
import structlog

from freehold.contracts.errors import DomainError
from freehold.database.queries import load_queries
from freehold.tenants.catalog import Catalog

_log = structlog.get_logger(__name__)
_QUERIES = load_queries("freehold_ingest", "announcement_leases.sql")
_WAIT_S = 1.0
_TAKEN_OVER_MAX = 1000


class AnnouncementLeases:
    """The leases of this process, and taking over those of dead processes."""

    def __init__(self, catalog: Catalog, *, idle_s: float, lease_s: float) -> None:
        """Set up.

        Args:
            catalog: Keeps them.
            idle_s: A tenant's lease is released after this time without an append.
            lease_s: A process that has not renewed for so long is dead; the same in all of them.
        """
        self._catalog = catalog
        self._idle_s = idle_s
        self._lease_s = lease_s
        self._instance_id: UUID = uuid4()
        self._used_at: dict[str, float] = {}
        self._unwritten: set[str] = set()
        # Leases are written and released one batch after the other, never both at once.
        self._writing = asyncio.Lock()

    async def ensure(self, tenant_id: str) -> None:
        """Lease a tenant before something is appended for it.

        With the catalog down the append goes on, since known tenants must work. The lease follows
        as soon as it can. Until then a crash would delay the announcement.
        """
        if self.keep(tenant_id):
            return
        self._used_at[tenant_id] = time.monotonic()
        self._unwritten.add(tenant_id)
        if not self._catalog.reachable:
            return
        try:
            async with asyncio.timeout(_WAIT_S), self._writing:
                if tenant_id in self._unwritten:
                    await self._write()
        except (DomainError, TimeoutError, asyncpg.PostgresError) as error:
            _log.warning("appending without a lease", tenant_id=tenant_id, fault=repr(error))

    def keep(self, tenant_id: str) -> bool:
        """Prolong a tenant's lease; say whether there is one."""
        if tenant_id not in self._used_at or tenant_id in self._unwritten:
            return False
        self._used_at[tenant_id] = time.monotonic()
        return True

    async def renew(self) -> None:
        """Renew this process's lease, and write those of tenants that are due."""
        async with self._writing:
            await self._write()
            if self._unwritten:
                await self._write()

    async def release_idle(self, busy: Callable[[str], bool]) -> None:
        """Release tenants that are idle and have nothing left to announce."""
        async with self._writing:
            before = time.monotonic() - self._idle_s
            idle = [
                tenant_id
                for tenant_id, used_at in self._used_at.items()
                if used_at < before and not busy(tenant_id)
            ]
            if not idle:
                return
            # Forgotten first: an append that comes meanwhile writes its lease after the release.
            for tenant_id in idle:
                del self._used_at[tenant_id]
            await self._catalog.execute(_QUERIES["release"], self._instance_id, idle)

    async def take_over(self) -> list[str]:
        """Take over the leases of one dead process; answer the tenants to look at."""
        async with self._catalog.connection() as connection, connection.transaction():
            dead = await connection.fetchval(
                _QUERIES["find_dead"], self._instance_id, self._lease_s
            )
            if dead is None:
                return []
            rows = await connection.fetch(
                _QUERIES["take_over"], self._instance_id, dead, _TAKEN_OVER_MAX
            )
            if len(rows) < _TAKEN_OVER_MAX:
                await connection.execute(_QUERIES["remove_instance"], dead)
        tenants = [str(row["tenant_id"]) for row in rows]
        for tenant_id in tenants:
            self._used_at.setdefault(tenant_id, time.monotonic())
        return tenants

    async def resign(self) -> None:
        """Remove this process and its leases: everything has been announced."""
        await self._catalog.execute(_QUERIES["remove_instance"], self._instance_id)

    async def _write(self) -> None:
        """Write what is due, of all tenants in one statement, and renew this process's lease."""
        tenants = list(self._unwritten)
        row = await self._catalog.fetchrow(
            _QUERIES["lease"], self._instance_id, self._lease_s, tenants
        )
        self._unwritten.difference_update(tenants)
        if row is not None and row["is_new"]:
            # Others took this process for dead, and its leases with it: all are due again.
            self._unwritten.update(self._used_at.keys() - set(tenants))
