"""Announcer: publishes doorbells for what was committed, until the broker confirms them.

No request waits for it: an append is acknowledged when it is committed. A tenant has one doorbell
of a kind under way at a time. Growth that arrives meanwhile, or while the broker is away, goes into
the next one.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import structlog

from freehold.aio.keyed_worker import KeyedWorkers, Worker
from freehold.contracts.messages import Appended, LedgerRange
from freehold.messaging.broker import Broker, LinkError
from freehold.messaging.topology import paced_key
from freehold.observability import traces
from freehold_ingest.metrics import DOORBELLS, UNANNOUNCED

_log = structlog.get_logger(__name__)
_IN_FLIGHT_MAX = 4
_RETRY_S = 0.25
# After a doorbell its tenant rests as long as its events take at 2,000 a second, at most 40 ms. A
# ledger that grows faster is announced and projected in larger steps, which costs less per event;
# one that grows more slowly is announced at once.
_REST_S_PER_EVENT = 0.0005
_REST_S_MAX = 0.04
# Consumers that need not follow each append, such as the archive, are woken this often at most.
_PACED_REST_S = 2.0


@dataclass(frozen=True, slots=True)
class Growth:
    """How far a tenant's ledger has grown."""

    epoch: int
    first_seq: int
    last_seq: int
    last_event_id: UUID
    head_hash: bytes
    causes: traces.Causes = ()
    """The appends that made it, in traces."""

    def joined(self, other: "Growth | None") -> "Growth":
        """Join two growths of one ledger into one."""
        if other is None:
            return self
        last = self if self.last_seq >= other.last_seq else other
        return Growth(
            last.epoch,
            min(self.first_seq, other.first_seq),
            last.last_seq,
            last.last_event_id,
            last.head_hash,
            traces.joined(other.causes, self.causes),
        )


class Announcer:
    """Publishes two kinds of doorbells: for each growth, and for the growth of two seconds."""

    def __init__(self, broker: Broker) -> None:
        async def ring_paced(doorbell: Appended, causes: traces.Causes) -> None:
            # Not mandatory: an installation may have no archive.
            await broker.publish(
                paced_key(doorbell.subject), doorbell, mandatory=False, causes=causes
            )

        prompt = _Bell(broker.ring, _rest_s)
        self._bells = (prompt, _Bell(ring_paced, lambda _: _PACED_REST_S))
        UNANNOUNCED.set_function(lambda: sum(tenant.pending for tenant in prompt.tenants))

    async def close(self, timeout_s: float) -> bool:
        """Announce what is pending, for at most `timeout_s`; answer whether all of it was."""
        finished = await asyncio.gather(*(bell.tenants.close(timeout_s) for bell in self._bells))
        if not all(finished):
            _log.warning("left unannounced for the relay")
        return all(finished)

    def announce(self, tenant_id: str, growth: Growth) -> None:
        """Have doorbells published for this growth."""
        for bell in self._bells:
            bell.announce(tenant_id, growth)

    def busy(self, tenant_id: str) -> bool:
        """Say whether growth of this tenant may not be announced yet."""
        return any(tenant_id in bell.tenants for bell in self._bells)


@dataclass(slots=True, eq=False)
class _Tenant(Worker[str]):
    growth: Growth | None = None

    @property
    def pending(self) -> bool:
        return self.growth is not None


class _Bell:
    """Doorbells of one kind, of several tenants at once."""

    def __init__(
        self,
        ring: Callable[[Appended, traces.Causes], Awaitable[None]],
        rest_s: Callable[[Growth], float],
    ) -> None:
        """Describe the kind.

        Args:
            ring: Publishes one doorbell, for its causes.
            rest_s: How long a tenant rests after the doorbell of a growth, in seconds.
        """
        self._ring = ring
        self._rest_s = rest_s
        self._in_flight = asyncio.Semaphore(_IN_FLIGHT_MAX)
        self.tenants = KeyedWorkers(_Tenant, self._serve)

    def announce(self, tenant_id: str, growth: Growth) -> None:
        tenant = self.tenants.wake(tenant_id)
        tenant.growth = growth.joined(tenant.growth)

    async def _serve(self, tenant: _Tenant) -> None:
        async with self._in_flight:
            growth, tenant.growth = tenant.growth, None
            if growth is None:
                return
            try:
                await self._ring(_doorbell(tenant.key, growth), growth.causes)
            except Exception as error:
                # Unknown, not failed: it is published again, which does no harm.
                tenant.growth = growth.joined(tenant.growth)
                if not isinstance(error, LinkError):
                    raise
                DOORBELLS.labels("unconfirmed").inc()
                _log.debug("doorbell not confirmed", tenant_id=tenant.key, fault=str(error))
                await asyncio.sleep(_RETRY_S)
                return
        DOORBELLS.labels("confirmed").inc()
        await tenant.pause(self._rest_s(growth))


def _rest_s(growth: Growth) -> float:
    return min((growth.last_seq - growth.first_seq + 1) * _REST_S_PER_EVENT, _REST_S_MAX)


def _doorbell(tenant_id: str, growth: Growth) -> Appended:
    return Appended(
        subject=tenant_id,
        data=LedgerRange(
            epoch=growth.epoch,
            first_seq=growth.first_seq,
            last_seq=growth.last_seq,
            last_event_id=growth.last_event_id,
            head_hash=growth.head_hash.hex(),
        ),
    )
