"""Marks: which tenants may have events that were committed and not announced yet.

A mark is in the catalog before a tenant's first append and stays until the tenant is idle and
announced. So whatever a dead process left unannounced is found by looking at its marks, however
many tenants there are.
"""

import asyncio
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import asyncpg
import structlog

from freehold.contracts.problems import Problem
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.queries import load_queries

_log = structlog.get_logger(__name__)
_QUERIES = load_queries("freehold_ingest", "marks.sql")
_WAIT_S = 1.0
_ADOPTED_MAX = 1000


class Marks:
    """The marks of this process, and the taking over of dead ones'."""

    def __init__(self, catalog: Catalog, *, idle_s: float, dead_after_s: float) -> None:
        self._catalog = catalog
        self._idle_s = idle_s
        self._dead_after_s = dead_after_s
        self._instance_id: UUID = uuid4()
        self._used_at: dict[str, float] = {}
        self._unwritten: set[str] = set()
        # Marks are written and removed one batch after the other, never both at once.
        self._writing = asyncio.Lock()

    async def ensure(self, tenant_id: str) -> None:
        """See that a tenant is marked before something is appended for it.

        With the catalog down the append goes on all the same, for known tenants must work; the mark
        follows as soon as it can, and until then only a crash could delay the announcement.
        """
        if self.keep(tenant_id):
            return
        self._used_at[tenant_id] = time.monotonic()
        self._unwritten.add(tenant_id)
        if not self._catalog.reachable:
            return
        try:
            async with asyncio.timeout(_WAIT_S):
                await self.write()
        except (Problem, TimeoutError, asyncpg.PostgresError) as error:
            _log.warning("appending without a mark", tenant_id=tenant_id, fault=repr(error))

    def keep(self, tenant_id: str) -> bool:
        """See that a tenant's mark stays; say whether it is there."""
        if tenant_id not in self._used_at or tenant_id in self._unwritten:
            return False
        self._used_at[tenant_id] = time.monotonic()
        return True

    async def write(self) -> None:
        """Write the marks that are due, of all tenants waiting, in one statement."""
        async with self._writing:
            tenants = list(self._unwritten)
            if not tenants:
                return
            row = await self._catalog.fetchrow(_QUERIES["mark"], self._instance_id, tenants)
            self._unwritten.difference_update(tenants)
            if row is not None and row["anew"]:
                # Others took this process for dead, and its marks with it: all are due again.
                self._unwritten.update(self._used_at.keys() - set(tenants))

    async def beat(self) -> None:
        """Say that this process lives; mark anew where it was taken for dead."""
        row = await self._catalog.fetchrow(_QUERIES["beat"], self._instance_id)
        if row is not None and row["anew"]:
            self._unwritten.update(self._used_at)
        await self.write()

    async def remove_idle(self, busy: Callable[[str], bool]) -> None:
        """Remove the marks of tenants that are idle and have nothing left to announce."""
        async with self._writing:
            before = time.monotonic() - self._idle_s
            idle = [
                tenant_id
                for tenant_id, used_at in self._used_at.items()
                if used_at < before and not busy(tenant_id)
            ]
            if not idle:
                return
            # Forgotten first: an append that comes meanwhile writes its mark after the removal.
            for tenant_id in idle:
                del self._used_at[tenant_id]
            await self._catalog.execute(
                _QUERIES["unmark"],
                self._instance_id,
                idle,
            )

    async def adopt(self) -> list[str]:
        """Take over one dead process's marks; answer the tenants to look at."""
        async with self._catalog.connection() as connection, connection.transaction():
            dead = await connection.fetchval(
                _QUERIES["find_dead"],
                self._dead_after_s,
                self._instance_id,
            )
            if dead is None:
                return []
            rows = await connection.fetch(
                _QUERIES["take_marks"],
                dead,
                self._instance_id,
                _ADOPTED_MAX,
            )
            if len(rows) < _ADOPTED_MAX:
                await connection.execute(_QUERIES["remove_instance"], dead)
        tenants = [str(row["tenant_id"]) for row in rows]
        for tenant_id in tenants:
            self._used_at.setdefault(tenant_id, time.monotonic())
        return tenants

    async def resign(self) -> None:
        """Remove this process and its marks: everything has been announced."""
        await self._catalog.execute(_QUERIES["remove_instance"], self._instance_id)
