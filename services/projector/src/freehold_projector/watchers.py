"""Watchers: consumers that want to know when a tenant's balances change. There may be none.

They are notified at once, and then of all that changes within 0.1 s together: otherwise a tenant
that never pauses would have the broker carry a message for each doorbell that it carries already.
If no consumer has bound a queue, the next notice waits 1 s.
"""

import asyncio
from dataclasses import dataclass, replace

from freehold.aio.keyed_worker import KeyedWorkers, Worker
from freehold.contracts.messages import LedgerRange, Projected
from freehold.ledger.client import Projection
from freehold.messaging.broker import Broker, LinkError
from freehold.messaging.topology import projected_key
from freehold.observability import traces

_PAUSE_S = 0.1
_PAUSE_UNHEARD_S = 1.0
_CLOSE_S = 2.0
_IN_FLIGHT_MAX = 1_000


@dataclass(slots=True, eq=False)
class _Tenant(Worker[str]):
    projection: Projection | None = None
    causes: traces.Causes = ()
    """The spans in which it was projected."""

    @property
    def pending(self) -> bool:
        return self.projection is not None


class Watchers:
    """Notifies them in the background."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._in_flight = asyncio.Semaphore(_IN_FLIGHT_MAX)
        self._tenants = KeyedWorkers(_Tenant, self._serve)

    def notify(self, tenant_id: str, projection: Projection) -> None:
        """Publish a projection, now or soon; returns at once."""
        tenant = self._tenants.wake(tenant_id)
        earlier = tenant.projection or projection
        # After a restore a ledger may begin before the earlier projection.
        from_seq = min(earlier.from_seq, projection.from_seq)
        tenant.projection = replace(projection, from_seq=from_seq)
        tenant.causes = traces.joined(tenant.causes, traces.causes())

    async def close(self) -> None:
        """Publish what is left, for at most 2 s."""
        await self._tenants.close(_CLOSE_S)

    async def _serve(self, tenant: _Tenant) -> None:
        async with self._in_flight:
            projection, tenant.projection = tenant.projection, None
            causes, tenant.causes = tenant.causes, ()
            if projection is None:
                return
            try:
                await self._broker.publish(
                    projected_key(tenant.key),
                    _doorbell(tenant.key, projection),
                    mandatory=True,
                    causes=causes,
                )
                pause_s = _PAUSE_S
            except LinkError:
                # Not published again: consumers read on from their own cursors at the next one.
                pause_s = _PAUSE_UNHEARD_S
        await tenant.pause(pause_s)


def _doorbell(tenant_id: str, projection: Projection) -> Projected:
    return Projected(
        subject=tenant_id,
        data=LedgerRange(
            epoch=projection.epoch,
            first_seq=projection.from_seq,
            last_seq=projection.last_seq,
            last_event_id=projection.last_event_id,
        ),
    )
