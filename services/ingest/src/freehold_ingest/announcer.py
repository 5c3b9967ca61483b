"""The announcer: rings a doorbell for what was committed, and keeps at it until confirmed.

Nobody waits for it: an append is acknowledged when it is committed. While the broker is away each
tenant's unannounced events grow into one doorbell.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from uuid import UUID

import structlog

from freehold.contracts.messages import Appended, LedgerRange
from freehold.messaging.broker import Broker, LinkError
from freehold_ingest.metrics import DOORBELLS, UNANNOUNCED

_log = structlog.get_logger(__name__)
_IN_FLIGHT_MAX = 16
_RETRY_S = 0.25


@dataclass(frozen=True, slots=True)
class Growth:
    """How far a tenant's ledger has grown."""

    epoch: int
    first_seq: int
    last_seq: int
    last_event_id: UUID
    head_hash: bytes

    def with_earlier(self, earlier: "Growth | None") -> "Growth":
        """Join two growths of one ledger into one."""
        if earlier is None:
            return self
        last = self if self.last_seq >= earlier.last_seq else earlier
        return Growth(
            last.epoch,
            min(self.first_seq, earlier.first_seq),
            last.last_seq,
            last.last_event_id,
            last.head_hash,
        )


class Announcer:
    """Publishes doorbells in the background, several at once."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._pending: OrderedDict[str, Growth] = OrderedDict()
        self._ringing: dict[str, int] = {}
        self._wanted = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._workers: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Begin."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(_IN_FLIGHT_MAX)]

    async def close(self, timeout_s: float) -> bool:
        """Announce what is pending, for at most so long; say whether all of it was."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()
        except TimeoutError:
            _log.warning("left unannounced for the relay")
        # Asked before the workers end, for they give up what they are ringing.
        announced = self._settled.is_set()
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        return announced

    def announce(self, tenant_id: str, growth: Growth) -> None:
        """Have a doorbell rung for this growth."""
        self._pending[tenant_id] = growth.with_earlier(self._pending.get(tenant_id))
        UNANNOUNCED.set(len(self._pending))
        self._settled.clear()
        self._wanted.set()

    def busy(self, tenant_id: str) -> bool:
        """Say whether something of this tenant is not announced yet."""
        return tenant_id in self._pending or tenant_id in self._ringing

    async def _work(self) -> None:
        while True:
            if not self._pending:
                self._wanted.clear()
                await self._wanted.wait()
                continue
            tenant_id, growth = self._pending.popitem(last=False)
            UNANNOUNCED.set(len(self._pending))
            self._ringing[tenant_id] = self._ringing.get(tenant_id, 0) + 1
            try:
                await self._ring(tenant_id, growth)
            except Exception:  # noqa: BLE001 (no fault may end a worker or lose a growth)
                _log.exception("doorbell failed", tenant_id=tenant_id)
                self.announce(tenant_id, growth)
                await asyncio.sleep(_RETRY_S)
            finally:
                self._ringing[tenant_id] -= 1
                if not self._ringing[tenant_id]:
                    del self._ringing[tenant_id]
                if not self._pending and not self._ringing:
                    self._settled.set()

    async def _ring(self, tenant_id: str, growth: Growth) -> None:
        doorbell = Appended(
            subject=tenant_id,
            data=LedgerRange(
                epoch=growth.epoch,
                first_seq=growth.first_seq,
                last_seq=growth.last_seq,
                last_event_id=growth.last_event_id,
                head_hash=growth.head_hash.hex(),
            ),
        )
        try:
            await self._broker.ring(doorbell)
        except LinkError as error:
            DOORBELLS.labels("unconfirmed").inc()
            _log.debug("doorbell not confirmed", tenant_id=tenant_id, fault=str(error))
            # Unknown, not failed: rung again, which costs nothing.
            self.announce(tenant_id, growth)
            await asyncio.sleep(_RETRY_S)
        else:
            DOORBELLS.labels("confirmed").inc()
