"""Traffic: what this process did for each tenant, counted here and added up in the catalog.

Counting is a few additions in memory, so that it costs a request nothing that could be noticed. Of
reads only the slowest of each kind is remembered, by its duration and never by its account: the
catalog is shared.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from freehold.contracts.errors import DomainError
from freehold.database.queries import load_queries
from freehold.ledger.client import Connection
from freehold.tenants.catalog import Catalog

_QUERIES = load_queries("freehold.tenants", "traffic.sql")

WRITE_EVERY_S = 30.0
_TENANTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class _Read:
    seconds: float
    at: datetime
    rows: int | None


@dataclass(slots=True)
class _Counts:
    """What was done for a tenant and is not written yet."""

    requests: int = 0
    errors: int = 0
    items: int = 0
    parked: int = 0
    slowest: dict[str, _Read] = field(default_factory=dict)

    @property
    def work(self) -> int:
        """What the process's CPU time is apportioned by."""
        return self.requests + self.items

    def add(self, other: "_Counts") -> None:
        self.requests += other.requests
        self.errors += other.errors
        self.items += other.items
        self.parked += other.parked
        for call, read in other.slowest.items():
            self.remember(call, read.seconds, read.rows, read.at)

    def remember(
        self, call: str, seconds: float, rows: int | None, at: datetime | None = None
    ) -> None:
        slowest = self.slowest.get(call)
        if slowest is None or seconds > slowest.seconds:
            self.slowest[call] = _Read(seconds, at or datetime.now(UTC), rows)


class Traffic:
    """Counts what one process does for its tenants."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._tenants: dict[str, _Counts] = {}
        self._cpu_s = time.process_time()

    def answered(self, tenant_id: str, *, failed: bool) -> None:
        """Count a request of a tenant; `failed` if the service could not serve it."""
        counts = self._of(tenant_id)
        counts.requests += 1
        counts.errors += failed

    def failed(self, tenant_id: str) -> None:
        """Count a failure of work that nobody requested."""
        self._of(tenant_id).errors += 1

    def worked(self, tenant_id: str, items: int) -> None:
        """Count events or rows that the process worked on for a tenant."""
        self._of(tenant_id).items += items

    def parked(self, tenant_id: str) -> None:
        """Count a doorbell that was parked."""
        self._of(tenant_id).parked += 1

    def read(self, tenant_id: str, call: str, seconds: float, rows: int | None = None) -> None:
        """Remember a read, if it is the slowest of its kind."""
        self._of(tenant_id).remember(call, seconds, rows)

    async def write(self) -> bool:
        """Add what was counted to the catalog; False: there is no more now.

        Raises:
            Unavailable, Overloaded: The catalog does not answer. It is added the next time.
        """
        taken, self._tenants = self._tenants, {}
        cpu_s = time.process_time()
        if not taken:
            # Idle time is nobody's: else whoever comes next would be charged for all of it.
            self._cpu_s = cpu_s
            return False
        try:
            async with self._catalog.connection() as connection, connection.transaction():
                await _add(connection, taken, cpu_s - self._cpu_s)
        except BaseException:
            for tenant_id, counts in taken.items():
                self._of(tenant_id).add(counts)
            raise
        self._cpu_s = cpu_s
        return False

    async def write_last(self) -> None:
        """Write once more as the process ends, if the catalog answers."""
        with suppress(DomainError):
            await self.write()

    def _of(self, tenant_id: str) -> _Counts:
        counts = self._tenants.get(tenant_id)
        if counts is None:
            counts = _Counts()
            # With more tenants between two writes, those who come last are not counted.
            if len(self._tenants) < _TENANTS_MAX:
                self._tenants[tenant_id] = counts
        return counts


async def _add(connection: Connection, taken: Mapping[str, _Counts], cpu_s: float) -> None:
    work = sum(counts.work for counts in taken.values())
    counted = taken.values()
    await connection.execute(
        _QUERIES["add_traffic"],
        list(taken),
        [counts.requests for counts in counted],
        [counts.errors for counts in counted],
        [cpu_s * counts.work / work if work else 0.0 for counts in counted],
        [counts.parked for counts in counted],
    )
    reads = [
        (tenant_id, call, read.seconds, read.at, read.rows)
        for tenant_id, counts in taken.items()
        for call, read in counts.slowest.items()
    ]
    if reads:
        await connection.execute(_QUERIES["add_slow_reads"], *map(list, zip(*reads, strict=True)))
