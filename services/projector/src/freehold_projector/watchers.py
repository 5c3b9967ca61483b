"""Watchers: whoever wants to hear that a tenant's balances have changed. There may be none.

They are told at once, and then of all that changes in a tenth of a second together: a tenant who
never pauses would have the broker carry a message for every other one that it carries already.
Where nobody has listened, the next to hear of it waits some seconds.
"""

import asyncio
from dataclasses import replace

from freehold.contracts.messages import LedgerRange, Projected
from freehold.ledger.client import Projection
from freehold.messaging.broker import Broker, LinkError
from freehold.messaging.topology import projected_key

_PAUSE_S = 0.1
_PAUSE_UNHEARD_S = 5.0
_UNDER_WAY_MAX = 1_000


class Watchers:
    """Tells them, in the background."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        # Of whom they were told just now, and what has been projected since.
        self._told: dict[str, Projection | None] = {}
        self._under_way: set[asyncio.Task[None]] = set()

    def tell(self, tenant_id: str, projection: Projection) -> None:
        """Tell of a projection, now or in a moment; returns at once."""
        if tenant_id in self._told:
            earlier = self._told[tenant_id] or projection
            # A ledger that was restored meanwhile may begin before the earlier one.
            from_seq = min(earlier.from_seq, projection.from_seq)
            self._told[tenant_id] = replace(projection, from_seq=from_seq)
        # With a broker that is slow to confirm some are left out: whoever hears the next reads on.
        elif len(self._under_way) < _UNDER_WAY_MAX:
            self._told[tenant_id] = None
            task = asyncio.create_task(self._ring(tenant_id, projection))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Tell of what is left."""
        for tenant_id in list(self._told):
            self._go_on(tenant_id)
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=2)

    async def _ring(self, tenant_id: str, projection: Projection) -> None:
        doorbell = Projected(
            subject=tenant_id,
            data=LedgerRange(
                epoch=projection.epoch,
                first_seq=projection.from_seq,
                last_seq=projection.last_seq,
                last_event_id=projection.last_event_id,
            ),
        )
        pause_s = _PAUSE_UNHEARD_S
        try:
            await self._broker.tell(projected_key(tenant_id), doorbell, mandatory=True)
            pause_s = _PAUSE_S
        except LinkError:
            pass
        finally:
            asyncio.get_running_loop().call_later(pause_s, self._go_on, tenant_id)

    def _go_on(self, tenant_id: str) -> None:
        projection = self._told.pop(tenant_id, None)
        if projection is not None:
            self.tell(tenant_id, projection)
