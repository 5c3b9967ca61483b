"""Every exchange and queue by name, and their declaration.

Whoever starts first declares them; declaring again is harmless. Needs no plugin, RabbitMQ 3.10 on.
"""

from typing import Any

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractQueue

LEDGER_EXCHANGE = "freehold.ledger"
PROJECTOR_QUEUE = "freehold.projector"
PARKED_QUEUE = "freehold.projector.parked"
APPENDED_PATTERN = "ledger.appended.*"

# A doorbell that crashes its consumer this often is parked by the broker itself.
DELIVERIES_MAX = 20


def appended_key(tenant_id: str) -> str:
    """Give the routing key of a tenant's `appended` doorbells."""
    return f"ledger.appended.{tenant_id}"


def projected_key(tenant_id: str) -> str:
    """Give the routing key of a tenant's `projected` doorbells."""
    return f"ledger.projected.{tenant_id}"


async def declare(channel: AbstractChannel, timeout_s: float) -> AbstractExchange:
    """Declare the exchange and the projector's queues, so that no doorbell is unroutable."""
    exchange = await channel.declare_exchange(
        LEDGER_EXCHANGE, ExchangeType.TOPIC, durable=True, timeout=timeout_s
    )
    await _declare_quorum(channel, PARKED_QUEUE, timeout_s)
    queue = await _declare_quorum(
        channel,
        PROJECTOR_QUEUE,
        timeout_s,
        {
            "x-delivery-limit": DELIVERIES_MAX,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": PARKED_QUEUE,
        },
    )
    await queue.bind(exchange, APPENDED_PATTERN, timeout=timeout_s)
    return exchange


async def _declare_quorum(
    channel: AbstractChannel,
    name: str,
    timeout_s: float,
    arguments: dict[str, Any] | None = None,
) -> AbstractQueue:
    return await channel.declare_queue(
        name,
        durable=True,
        arguments={"x-queue-type": "quorum", **(arguments or {})},
        timeout=timeout_s,
    )
