"""Doorbells: the broker tells which of the watched tenants' balances have changed.

The process has a queue of its own. It is bound to the doorbells of tenants with clients here and to
no others, so that no other doorbells are carried for it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

import structlog
from aio_pika.abc import AbstractChannel, AbstractQueue
from pydantic import ValidationError

from freehold.aio.tasks import end
from freehold.contracts.messages import Projected
from freehold.messaging.broker import Broker, Delivery, LinkError, acknowledge, link_failures
from freehold.messaging.topology import LEDGER_EXCHANGE, declare_listener, projected_key
from freehold.observability import traces

_log = structlog.get_logger(__name__)

_TIMEOUT_S = 5.0

Ring = Callable[[traces.Causes], None]
"""Called at a doorbell, with what rang it."""


class Doorbells:
    """Listens for those of some tenants."""

    def __init__(self, url: str) -> None:
        """Describe the link to the broker with an AMQP URL."""
        self._watched: dict[str, Ring] = {}
        self._bound: set[str] = set()
        self._changed = asyncio.Event()
        self._queue: AbstractQueue | None = None
        self._name = f"freehold.query.{uuid4()}"
        self.link = Broker(
            url,
            name="freehold-query",
            timeout_s=_TIMEOUT_S,
            queue=self._name,
            declaring=self._declare,
        )
        self.link.consume(self._on_delivery)
        self._binder: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin linking; returns at once, whether the broker answers or not."""
        self._binder = asyncio.create_task(self._keep_bound())
        await self.link.open()

    async def close(self) -> None:
        """End the link."""
        if self._binder is not None:
            await end(self._binder)
        await self.link.close()

    def watch(self, tenant_id: str, ring: Ring) -> None:
        """Have a function called at a tenant's doorbells, from soon on."""
        self._watched[tenant_id] = ring
        self._changed.set()

    def unwatch(self, tenant_id: str) -> None:
        """Listen for them no more."""
        self._watched.pop(tenant_id, None)
        self._changed.set()

    async def _declare(self, channel: AbstractChannel, timeout_s: float) -> None:
        self._queue = await declare_listener(channel, self._name, timeout_s)
        self._bound = set()
        self._changed.set()

    async def _keep_bound(self) -> None:
        """Bind the queue to what is watched. What fails is bound on the next link."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._queue is not None:
                with suppress(LinkError), link_failures():
                    await self._bind(self._queue, self._bound)

    async def _bind(self, queue: AbstractQueue, bound: set[str]) -> None:
        for tenant_id in self._watched.keys() - bound:
            await queue.bind(LEDGER_EXCHANGE, projected_key(tenant_id), timeout=_TIMEOUT_S)
            bound.add(tenant_id)
            # For the doorbells before.
            self._ring(tenant_id)
        for tenant_id in bound - self._watched.keys():
            bound.discard(tenant_id)
            await queue.unbind(LEDGER_EXCHANGE, projected_key(tenant_id), timeout=_TIMEOUT_S)

    def _ring(self, tenant_id: str, causes: traces.Causes = ()) -> None:
        if ring := self._watched.get(tenant_id):
            ring(causes)

    async def _on_delivery(self, delivery: Delivery) -> None:
        try:
            doorbell = Projected.model_validate_json(delivery.body)
        except ValidationError:
            _log.warning("not a doorbell", message_id=delivery.message_id)
        else:
            self._ring(doorbell.subject, traces.received(delivery.headers))
        await acknowledge([delivery])
