"""Holds that expire with no traffic: noted in the catalog when they are seen, and settled in time.

Every append settles the holds that are due before anything else, so that what it decides is exact.
Where a tenant appends nothing, projector comes by: the process that sees an expiry first notes it
in the catalog before it lets go of the doorbell, and any process comes when it is due.
"""

import asyncio
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import structlog

from freehold.contracts.problems import Problem, unavailable
from freehold.ledger import client as ledger
from freehold.ledger.client import Settled
from freehold.service.metrics import LEDGER_CALL_SECONDS
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.directory import Directory
from freehold.tenancy.failures import database_failures
from freehold.tenancy.homes import Home
from freehold.tenancy.queries import load_queries
from freehold_projector.catching_up import CatchingUp
from freehold_projector.metrics import HOLD_EXPIRIES

_log = structlog.get_logger(__name__)
_QUERIES = load_queries("freehold_projector", "hold_expiry.sql")
_NOTED_MAX = 50_000
_AT_ONCE_MAX = 8
_CLAIM_S = 10.0
_AWAY = timedelta(minutes=10)
_EXPIRE_SECONDS = LEDGER_CALL_SECONDS.labels("expire_holds")


class HoldExpiries:
    """What the catalog knows of when holds expire. To the second: no tenant costs more writes."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        # The last of each tenant. It is in the catalog for as long as it lies ahead.
        self._noted: OrderedDict[str, datetime] = OrderedDict()

    async def note(self, tenant_id: str, expiry: datetime | None) -> None:
        """See that somebody comes when a tenant's next hold expires; None where none ever does.

        Raises:
            Problem: unavailable, where the catalog does not answer.
        """
        if expiry is None:
            return
        # Nobody came for one that is past: it is noted again, in case the note was lost.
        if self._noted.get(tenant_id) == _second(expiry) and expiry > datetime.now(UTC):
            return
        if not self._catalog.reachable:
            raise unavailable("the catalog does not answer")
        await self._write(tenant_id, _second(expiry))

    async def claim(self, seconds_max: int, claim: UUID) -> set[str]:
        """Take over tenants of whom a hold may have expired; nobody else does for a while."""
        rows = await self._catalog.fetch(_QUERIES["claim"], seconds_max, claim, _CLAIM_S)
        return {str(row["tenant_id"]) for row in rows}

    async def settle(self, tenant_id: str, claim: UUID, expiry: datetime | None) -> None:
        """Say that nothing is due any more, and when the next hold expires."""
        if expiry is not None:
            await self._write(tenant_id, _second(expiry))
        await self._catalog.execute(_QUERIES["forget"], tenant_id, claim)

    async def _write(self, tenant_id: str, second: datetime) -> None:
        await self._catalog.execute(_QUERIES["note"], tenant_id, second)
        self._noted[tenant_id] = second
        self._noted.move_to_end(tenant_id)
        if len(self._noted) > _NOTED_MAX:
            self._noted.popitem(last=False)


class HoldExpiry:
    """Settles holds that have expired; any number of processes share the work.

    Each tenant has a task and a deadline of their own, so that one whose database does not answer
    keeps nobody waiting.
    """

    def __init__(
        self,
        expiries: HoldExpiries,
        directory: Directory,
        connections: TenantConnections,
        catching_up: CatchingUp,
    ) -> None:
        self._expiries = expiries
        self._directory = directory
        self._connections = connections
        self._catching_up = catching_up
        self._tasks: set[asyncio.Task[None]] = set()

    async def expire_due(self) -> bool:
        """Begin with those who are due, as far as there are places; answers whether any were.

        Raises:
            Problem: unavailable, where the catalog does not answer.
        """
        places = _AT_ONCE_MAX - len(self._tasks)
        if places <= 0:
            return False
        claim = uuid4()
        tenants = await self._expiries.claim(places, claim)
        for tenant_id in tenants:
            task = asyncio.create_task(self._expire(tenant_id, claim))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return bool(tenants)

    async def close(self) -> None:
        """End; what is cut short is taken up again when its claim has passed."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _expire(self, tenant_id: str, claim: UUID) -> None:
        result = "failed"
        try:
            # From then on somebody else may try.
            async with asyncio.timeout(_CLAIM_S):
                expiry = await self._settle_holds(tenant_id)
                await self._expiries.settle(tenant_id, claim, expiry)
            result = "ok"
        except (Problem, TimeoutError) as error:
            _log.warning("expired holds wait", tenant_id=tenant_id, fault=repr(error))
        except Exception:  # noqa: BLE001 (whatever it is, the next try may do better)
            _log.exception("could not settle expired holds", tenant_id=tenant_id)
        finally:
            HOLD_EXPIRIES.labels(result).inc()

    async def _settle_holds(self, tenant_id: str) -> datetime | None:
        """Settle what is due and bring the balances up to it; say when the next hold expires."""
        home = await self._directory.home(tenant_id)
        if home is None:
            return datetime.now(UTC) + _AWAY
        seq = None
        while (settled := await self._settle_some(home)).last_seq != seq and _due(settled):
            seq = settled.last_seq
        # Nobody rings for these events. Those of a process that died meanwhile are found here too.
        return (await self._catching_up.catch_up(tenant_id)).next_hold_expiry

    async def _settle_some(self, home: Home) -> Settled:
        # Not among the transactions in flight: it may wait for a writer, and projections must not.
        with _EXPIRE_SECONDS.time(), database_failures():
            async with self._connections.use(home) as connection:
                return await ledger.expire_holds(connection)


def _second(instant: datetime) -> datetime:
    return instant.replace(microsecond=0)


def _due(settled: Settled) -> bool:
    expiry = settled.next_hold_expiry
    return expiry is not None and expiry <= datetime.now(UTC)
