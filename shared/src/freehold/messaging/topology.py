"""Every exchange and queue by name, and their declaration.

Whoever starts first declares them; declaring again is harmless. Needs no plugin, RabbitMQ 3.10 on.
"""

from typing import Any

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractQueue

LEDGER_EXCHANGE = "freehold.ledger"
PROJECTOR_QUEUE = "freehold.projector"
PARKED_QUEUE = "freehold.projector.parked"
ARCHIVER_QUEUE = "freehold.archiver"
APPENDED_PATTERN = "ledger.appended.*"
PACED_PATTERN = "ledger.appended.*.paced"

# A doorbell that crashes its consumer this often is parked by the broker itself.
DELIVERIES_MAX = 20

ARCHIVER_DOORBELLS_MAX = 100_000
"""Where nobody archives for long, the oldest doorbells go first: tenants are looked at anyway."""

INBOUND_EXCHANGE = INBOUND_QUEUE = "freehold.inbound"
REFUSED_QUEUE = "freehold.inbound.refused"
WAITING_S = (1, 5, 30)
"""How long a message waits that cannot be dealt with now: longer and longer."""

INBOUND_DELIVERIES_MAX = 10
"""A message that was delivered again so often, and never dealt with, is refused by the broker."""

OWN_PREFIX = "freehold."
"""How every name here begins."""


def appended_key(tenant_id: str) -> str:
    """Give the routing key of a tenant's `appended` doorbells."""
    return f"ledger.appended.{tenant_id}"


def paced_key(tenant_id: str) -> str:
    """Give the routing key of those that ring once for all that was appended in some seconds."""
    return f"{appended_key(tenant_id)}.paced"


def projected_key(tenant_id: str) -> str:
    """Give the routing key of a tenant's `projected` doorbells."""
    return f"ledger.projected.{tenant_id}"


def waiting_queue(pause_s: int) -> str:
    """Name the queue out of which messages come back to `freehold.inbound` after so long.

    The pause is part of the name: a queue's time to live cannot be changed.
    """
    return f"freehold.inbound.waiting.{pause_s}s"


async def declare(channel: AbstractChannel, timeout_s: float) -> None:
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


async def declare_archiver(channel: AbstractChannel, timeout_s: float) -> None:
    """Declare the exchange, and the queue of doorbells for those who archive."""
    exchange = await channel.declare_exchange(
        LEDGER_EXCHANGE, ExchangeType.TOPIC, durable=True, timeout=timeout_s
    )
    queue = await _declare_quorum(
        channel,
        ARCHIVER_QUEUE,
        timeout_s,
        {"x-max-length": ARCHIVER_DOORBELLS_MAX, "x-delivery-limit": DELIVERIES_MAX},
    )
    await queue.bind(exchange, PACED_PATTERN, timeout=timeout_s)
    # As it was bound before there were paced doorbells.
    await queue.unbind(exchange, APPENDED_PATTERN, timeout=timeout_s)


async def declare_inbound(channel: AbstractChannel, timeout_s: float) -> None:
    """Declare what upstream apps publish to, and where their messages wait or are kept."""
    exchange = await channel.declare_exchange(
        INBOUND_EXCHANGE, ExchangeType.TOPIC, durable=True, timeout=timeout_s
    )
    # Looking at a message and giving it back must never cost it; by itself RabbitMQ 4 drops one
    # that was given back 20 times.
    await _declare_quorum(channel, REFUSED_QUEUE, timeout_s, {"x-delivery-limit": 2**31 - 1})
    queue = await _declare_quorum(
        channel,
        INBOUND_QUEUE,
        timeout_s,
        {"x-delivery-limit": INBOUND_DELIVERIES_MAX, **_safely_to(REFUSED_QUEUE)},
    )
    await queue.bind(exchange, "#", timeout=timeout_s)
    for pause_s in WAITING_S:
        await _declare_quorum(
            channel,
            waiting_queue(pause_s),
            timeout_s,
            {"x-message-ttl": pause_s * 1000, **_safely_to(INBOUND_QUEUE)},
        )


def _safely_to(queue: str) -> dict[str, str]:
    """Have a quorum queue's dead letters confirmed by where they go, before it lets go of them."""
    return {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
        "x-dead-letter-strategy": "at-least-once",
        # Without this the broker would fall back to letting them go unconfirmed.
        "x-overflow": "reject-publish",
    }


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
