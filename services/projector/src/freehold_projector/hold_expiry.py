"""Holds that expire while their tenant appends nothing: saved in the catalog, settled in time.

Each append first settles the tenant's holds that are due, so what it decides is exact. For tenants
that append nothing, projector does it. The process that first sees an expiry saves it in the
catalog before it acknowledges the doorbell, and any process settles it when it is due.
"""

import asyncio
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import structlog

from freehold.aio.tasks import end
from freehold.contracts.errors import DomainError, Unavailable
from freehold.database.queries import load_queries
from freehold.ledger import client as ledger
from freehold.ledger.client import Settled
from freehold.ledger.clocks import Clock
from freehold.observability.metrics import LEDGER_CALL_SECONDS
from freehold.tenants.catalog import Catalog
from freehold.tenants.connections import TenantConnections
from freehold.tenants.directory import Directory
from freehold.tenants.homes import Home
from freehold_projector.catch_up import CatchUp
from freehold_projector.metrics import HOLD_EXPIRIES

_log = structlog.get_logger(__name__)
_QUERIES = load_queries("freehold_projector", "hold_expiry.sql")
_SAVED_MAX = 50_000
_IN_FLIGHT_MAX = 8
_LEASE_S = 10.0
_AWAY = timedelta(minutes=10)
_EXPIRE_SECONDS = LEDGER_CALL_SECONDS.labels("expire_holds")


class HoldExpiries:
    """When holds expire, in the catalog. To the second: no tenant costs more writes."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        # The last of each tenant. It is in the catalog until its time has come.
        self._saved: OrderedDict[str, datetime] = OrderedDict()

    async def save(self, tenant_id: str, expiry: datetime | None) -> None:
        """Save when a tenant's next hold expires; None if none ever does.

        Raises:
            Unavailable: The catalog does not answer.
        """
        if expiry is None:
            return
        # One that is past was not settled: it is saved again, in case it was lost.
        if self._saved.get(tenant_id) == _second(expiry) and expiry > datetime.now(UTC):
            return
        if not self._catalog.reachable:
            raise Unavailable("the catalog does not answer")
        await self._write(tenant_id, _second(expiry))

    async def claim(self, owner: UUID, rows_max: int) -> set[str]:
        """Lease tenants with a hold that may have expired, for 10 s.

        Raises:
            Unavailable: The catalog does not answer.
            ClocksDisagree: By a clock that is behind none of them is due, and leases written by one
                that is ahead last until it comes true.
        """
        self._catalog.agreed_now()
        rows = await self._catalog.fetch(_QUERIES["claim"], owner, _LEASE_S, rows_max)
        return {str(row["tenant_id"]) for row in rows}

    async def settle(self, owner: UUID, tenant_id: str, expiry: datetime | None) -> None:
        """Forget what was leased, and save when the tenant's next hold expires."""
        if expiry is not None:
            await self._write(tenant_id, _second(expiry))
        await self._catalog.execute(_QUERIES["forget"], tenant_id, owner)

    async def _write(self, tenant_id: str, second: datetime) -> None:
        await self._catalog.execute(_QUERIES["save"], tenant_id, second)
        self._saved[tenant_id] = second
        self._saved.move_to_end(tenant_id)
        if len(self._saved) > _SAVED_MAX:
            self._saved.popitem(last=False)


class HoldExpiry:
    """Settles holds that have expired; any number of processes share the work.

    Each tenant has its own task and deadline: one whose database does not answer delays no other.
    """

    def __init__(
        self,
        expiries: HoldExpiries,
        directory: Directory,
        connections: TenantConnections,
        catch_up: CatchUp,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._expiries = expiries
        self._directory = directory
        self._connections = connections
        self._catch_up = catch_up
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    async def expire_due(self) -> bool:
        """Begin with tenants that are due, a few at once; answers whether any were.

        Raises:
            DomainError: As for `HoldExpiries.claim`.
        """
        free = _IN_FLIGHT_MAX - len(self._tasks)
        if free <= 0:
            return False
        # A new owner each time: a round must not forget what another one has leased since.
        owner = uuid4()
        tenants = await self._expiries.claim(owner, free)
        for tenant_id in tenants:
            task = asyncio.create_task(self._expire(owner, tenant_id))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return bool(tenants)

    async def close(self) -> None:
        """Stop. Another process goes on with what is cut short when its lease ends."""
        await end(*self._tasks)

    async def _expire(self, owner: UUID, tenant_id: str) -> None:
        result = "failed"
        try:
            # As long as the lease: it is not renewed.
            async with asyncio.timeout(_LEASE_S):
                expiry = await self._settle_holds(tenant_id)
                await self._expiries.settle(owner, tenant_id, expiry)
            result = "ok"
        except (DomainError, TimeoutError) as error:
            _log.warning("expired holds wait", tenant_id=tenant_id, fault=repr(error))
        except Exception:  # noqa: BLE001 (the next try may do better)
            _log.exception("could not settle expired holds", tenant_id=tenant_id)
        finally:
            HOLD_EXPIRIES.labels(result).inc()

    async def _settle_holds(self, tenant_id: str) -> datetime | None:
        """Settle what is due and project it; give when the next hold expires."""
        home = await self._directory.home(tenant_id)
        if home is None:
            return datetime.now(UTC) + _AWAY
        seq = None
        while (settled := await self._settle_some(home)).last_seq != seq and _is_due(settled):
            seq = settled.last_seq
        # No doorbell is published for these events, nor for those of a process that died before it
        # projected them.
        return (await self._catch_up.project(tenant_id)).next_hold_expiry

    async def _settle_some(self, home: Home) -> Settled:
        # Without a permit of the projections: it may wait for a writer, and they must not.
        with _EXPIRE_SECONDS.time():
            async with self._connections.use(home) as connection:
                return await ledger.expire_holds(connection, self._clock)


def _second(instant: datetime) -> datetime:
    return instant.replace(microsecond=0)


def _is_due(settled: Settled) -> bool:
    expiry = settled.next_hold_expiry
    return expiry is not None and expiry <= datetime.now(UTC)
