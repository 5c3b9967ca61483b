"""The announcer: rings a doorbell for what was committed, and keeps at it until confirmed.

Nobody waits for it: an append is acknowledged when it is committed. A tenant has one doorbell under
way at a time; what grows meanwhile, or while the broker is away, becomes the next one.
"""

import asyncio
import time
from dataclasses import dataclass
from uuid import UUID

import structlog

from freehold.contracts.messages import Appended, LedgerRange
from freehold.messaging.broker import Broker, LinkError
from freehold_ingest.metrics import DOORBELLS, UNANNOUNCED

_log = structlog.get_logger(__name__)
_IN_FLIGHT_MAX = 4
_RETRY_S = 0.25
# After a doorbell its tenant is left alone for eight times as long as its confirm took: a ledger
# that grows without a pause is announced in bigger steps, at a ninth of the cost to the broker and
# the projector, and a lone event still at once.
_REST = 8
_REST_S_MAX = 0.02


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
        self._pending: dict[str, Growth] = {}
        # Who is pending and neither has a doorbell under way nor rests after one.
        self._ready: asyncio.Queue[str] = asyncio.Queue()
        self._engaged: set[str] = set()
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
        earlier = self._pending.get(tenant_id)
        self._pending[tenant_id] = growth.with_earlier(earlier)
        if earlier is None:
            UNANNOUNCED.set(len(self._pending))
            self._settled.clear()
            if tenant_id not in self._engaged:
                self._ready.put_nowait(tenant_id)

    def busy(self, tenant_id: str) -> bool:
        """Say whether something of this tenant is not announced yet."""
        return tenant_id in self._pending or tenant_id in self._engaged

    async def _work(self) -> None:
        while True:
            tenant_id = await self._ready.get()
            growth = self._pending.pop(tenant_id)
            UNANNOUNCED.set(len(self._pending))
            self._engaged.add(tenant_id)
            began_at = time.monotonic()
            try:
                await self._ring(tenant_id, growth)
            except Exception:  # noqa: BLE001 (no fault may end a worker or lose a growth)
                _log.exception("doorbell failed", tenant_id=tenant_id)
                self.announce(tenant_id, growth)
                await asyncio.sleep(_RETRY_S)
            finally:
                rest_s = min(_REST * (time.monotonic() - began_at), _REST_S_MAX)
                asyncio.get_running_loop().call_later(rest_s, self._let_go, tenant_id)

    def _let_go(self, tenant_id: str) -> None:
        self._engaged.discard(tenant_id)
        if tenant_id in self._pending:
            self._ready.put_nowait(tenant_id)
        elif not self._pending and not self._engaged:
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
