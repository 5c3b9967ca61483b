"""The announcer: rings doorbells for what was committed, and keeps at it until confirmed.

Nobody waits for it: an append is acknowledged when it is committed. A tenant has one doorbell of a
kind under way at a time; what grows meanwhile, or while the broker is away, becomes the next one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import structlog

from freehold.contracts.messages import Appended, LedgerRange
from freehold.messaging.broker import Broker, LinkError
from freehold.messaging.topology import paced_key
from freehold_ingest.metrics import DOORBELLS, UNANNOUNCED

_log = structlog.get_logger(__name__)
_IN_FLIGHT_MAX = 4
_RETRY_S = 0.25
# After a doorbell its tenant is left alone for eight times as long as its confirm took: a ledger
# that grows without a pause is announced in bigger steps, at a ninth of the cost to the broker and
# the projector, and a lone event still at once.
_REST = 8
_REST_S_MAX = 0.02
# Who does not follow every append, as those who archive, need not be woken by each.
_PACED_REST_S = 2.0


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
    """Publishes doorbells in the background: for every growth, and for all of some seconds."""

    def __init__(self, broker: Broker) -> None:
        async def ring_paced(doorbell: Appended) -> None:
            # Not everybody archives.
            await broker.tell(paced_key(doorbell.subject), doorbell, mandatory=False)

        prompt = _Bell(broker.ring, _rest_s)
        self._bells = (prompt, _Bell(ring_paced, lambda _: _PACED_REST_S))
        UNANNOUNCED.set_function(lambda: prompt.pending)

    async def open(self) -> None:
        """Begin."""
        for bell in self._bells:
            bell.open()

    async def close(self, timeout_s: float) -> bool:
        """Announce what is pending, for at most so long; say whether all of it was."""
        try:
            async with asyncio.timeout(timeout_s):
                for bell in self._bells:
                    await bell.finish()
        except TimeoutError:
            _log.warning("left unannounced for the relay")
        # Asked before the workers end, for they give up what they are ringing.
        announced = all(bell.settled for bell in self._bells)
        for bell in self._bells:
            await bell.close()
        return announced

    def announce(self, tenant_id: str, growth: Growth) -> None:
        """Have doorbells rung for this growth."""
        for bell in self._bells:
            bell.announce(tenant_id, growth)

    def busy(self, tenant_id: str) -> bool:
        """Say whether something of this tenant is not announced yet."""
        return any(bell.busy(tenant_id) for bell in self._bells)


def _rest_s(confirm_s: float) -> float:
    return min(_REST * confirm_s, _REST_S_MAX)


class _Bell:
    """Doorbells of one kind, several tenants' at once."""

    def __init__(
        self, ring: Callable[[Appended], Awaitable[None]], rest_s: Callable[[float], float]
    ) -> None:
        """Set up.

        Args:
            ring: Rings one.
            rest_s: How long a tenant rests, for how long the confirm of their doorbell took.
        """
        self._ring = ring
        self._rest_s = rest_s
        self._pending: dict[str, Growth] = {}
        # Who is pending and neither has a doorbell under way nor rests after one.
        self._ready: asyncio.Queue[str] = asyncio.Queue()
        self._under_way: set[str] = set()
        self._resting: dict[str, asyncio.TimerHandle] = {}
        self._settled = asyncio.Event()
        self._settled.set()
        self._finishing = False
        self._workers: list[asyncio.Task[None]] = []

    @property
    def pending(self) -> int:
        """How many tenants have grown since their last doorbell."""
        return len(self._pending)

    @property
    def settled(self) -> bool:
        """Whether there is nothing left to announce."""
        return self._settled.is_set()

    def open(self) -> None:
        self._workers = [asyncio.create_task(self._work()) for _ in range(_IN_FLIGHT_MAX)]

    async def finish(self) -> None:
        """Announce what is pending; nobody rests any more."""
        self._finishing = True
        for tenant_id, timer in list(self._resting.items()):
            timer.cancel()
            self._let_go(tenant_id)
        await self._settled.wait()

    async def close(self) -> None:
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)

    def announce(self, tenant_id: str, growth: Growth) -> None:
        earlier = self._pending.get(tenant_id)
        self._pending[tenant_id] = growth.with_earlier(earlier)
        if earlier is None:
            self._settled.clear()
            if tenant_id not in self._under_way and tenant_id not in self._resting:
                self._ready.put_nowait(tenant_id)

    def busy(self, tenant_id: str) -> bool:
        return tenant_id in self._pending or tenant_id in self._under_way

    async def _work(self) -> None:
        while True:
            tenant_id = await self._ready.get()
            growth = self._pending.pop(tenant_id)
            self._under_way.add(tenant_id)
            began_at = time.monotonic()
            try:
                await self._announce(tenant_id, growth)
            except Exception:  # noqa: BLE001 (no fault may end a worker or lose a growth)
                _log.exception("doorbell failed", tenant_id=tenant_id)
                self.announce(tenant_id, growth)
                await asyncio.sleep(_RETRY_S)
            finally:
                self._under_way.discard(tenant_id)
                if not self._pending and not self._under_way:
                    self._settled.set()
                rest_s = 0 if self._finishing else self._rest_s(time.monotonic() - began_at)
                self._resting[tenant_id] = asyncio.get_running_loop().call_later(
                    rest_s, self._let_go, tenant_id
                )

    def _let_go(self, tenant_id: str) -> None:
        del self._resting[tenant_id]
        if tenant_id in self._pending:
            self._ready.put_nowait(tenant_id)

    async def _announce(self, tenant_id: str, growth: Growth) -> None:
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
            await self._ring(doorbell)
        except LinkError as error:
            DOORBELLS.labels("unconfirmed").inc()
            _log.debug("doorbell not confirmed", tenant_id=tenant_id, fault=str(error))
            # Unknown, not failed: rung again, which costs nothing.
            self.announce(tenant_id, growth)
            await asyncio.sleep(_RETRY_S)
        else:
            DOORBELLS.labels("confirmed").inc()
