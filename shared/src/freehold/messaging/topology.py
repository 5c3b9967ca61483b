"""Every exchange and queue by name, and their declaration.

Each service declares what it needs at its start; declaring again is harmless. RabbitMQ 3.10 or
later is needed, and no plugin.
"""

from typing import Any

from aio_pika import ExchangeType
from aio_pika.abc import AbstractChannel, AbstractQueue
from aiormq.exceptions import ChannelNotFoundEntity

LEDGER_EXCHANGE = "freehold.ledger"
PROJECTOR_QUEUE = "freehold.projector"
PARKED_QUEUE = "freehold.projector.parked"
ARCHIVER_QUEUE = "freehold.archiver"
APPENDED_PATTERN = "ledger.appended.*"
PACED_PATTERN = "ledger.appended.*.paced"

# A doorbell that crashes its consumer this often is parked by the broker itself.
DELIVERIES_MAX = 20

_NO_LIMIT = 2**31 - 1
"""RabbitMQ 4 drops a message returned 20 times by default. RabbitMQ 3 does not know -1."""

ARCHIVER_DOORBELLS_MAX = 100_000
"""Beyond it the oldest doorbells are dropped: the archiver looks at every tenant anyway."""

LISTENER_DOORBELLS_MAX = 10_000

INBOUND_EXCHANGE = INBOUND_QUEUE = "freehold.inbound"
REFUSED_QUEUE = "freehold.inbound.refused"
WAITING_S = (1, 5, 30)
"""Growing pauses, in seconds, before a message is tried again."""

INBOUND_DELIVERIES_MAX = 10
"""The broker refuses a message after this number of deliveries without an end."""


def appended_key(tenant_id: str) -> str:
    """Give the routing key of a tenant's `appended` doorbells."""
    return f"ledger.appended.{tenant_id}"


def paced_key(tenant_id: str) -> str:
    """Give the routing key of doorbells that ring once for several seconds of appends."""
    return f"{appended_key(tenant_id)}.paced"


def projected_key(tenant_id: str) -> str:
    """Give the routing key of a tenant's `projected` doorbells."""
    return f"ledger.projected.{tenant_id}"


def waiting_queue(pause_s: int) -> str:
    """Name the queue whose messages return to `freehold.inbound` after a pause.

    The pause is part of the name: a queue's time to live cannot be changed.
    """
    return f"freehold.inbound.waiting.{pause_s}s"


def replies_queue(user: str) -> str:
    """Name the one queue in which replies to a broker's user may be kept.

    deploy/rabbitmq/publisher.sh permits each publisher this name and no other.
    """
    return f"freehold.replies.{user}"


async def declare(channel: AbstractChannel, timeout_s: float) -> None:
    """Declare the exchange and the projector's queues, so that no doorbell is unroutable."""
    exchange = await channel.declare_exchange(
        LEDGER_EXCHANGE, ExchangeType.TOPIC, durable=True, timeout=timeout_s
    )
    # A queue that was declared without a limit keeps none: arguments cannot be changed.
    if not await _exists(channel, PARKED_QUEUE, timeout_s):
        await _declare_quorum(channel, PARKED_QUEUE, timeout_s, {"x-delivery-limit": _NO_LIMIT})
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
    """Declare the exchange, and the archiver's queue of doorbells."""
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


async def declare_listener(channel: AbstractChannel, name: str, timeout_s: float) -> AbstractQueue:
    """Declare a queue of `projected` doorbells for one process; it goes with the link.

    It is bound to nothing yet. Beyond its length the oldest doorbells are dropped: they are hints.
    """
    await channel.declare_exchange(
        LEDGER_EXCHANGE, ExchangeType.TOPIC, durable=True, timeout=timeout_s
    )
    return await channel.declare_queue(
        name, exclusive=True, arguments={"x-max-length": LISTENER_DOORBELLS_MAX}, timeout=timeout_s
    )


async def declare_inbound(channel: AbstractChannel, timeout_s: float) -> None:
    """Declare what upstream apps publish to, and the queues of waiting and refused messages."""
    exchange = await channel.declare_exchange(
        INBOUND_EXCHANGE, ExchangeType.TOPIC, durable=True, timeout=timeout_s
    )
    # Returning a message after a look at it must never lose it.
    await _declare_quorum(channel, REFUSED_QUEUE, timeout_s, {"x-delivery-limit": _NO_LIMIT})
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


async def declare_nothing(_: AbstractChannel, __: float) -> None:
    """Declare nothing: for a link that only carries replies."""


def _safely_to(queue: str) -> dict[str, str]:
    """Let a quorum queue keep a dead letter until the target queue has confirmed it."""
    return {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue,
        "x-dead-letter-strategy": "at-least-once",
        # Without this the broker falls back to dead letters without confirms.
        "x-overflow": "reject-publish",
    }


async def _exists(channel: AbstractChannel, queue: str, timeout_s: float) -> bool:
    """Ask on a separate channel: the broker closes it if the queue is missing."""
    connection = (await channel.get_underlay_channel()).connection
    probe = await connection.channel(timeout=timeout_s)
    try:
        await probe.queue_declare(queue, passive=True, timeout=timeout_s)
    except ChannelNotFoundEntity:
        return False
    await probe.close()
    return True


async def _declare_quorum(
    channel: AbstractChannel, name: str, timeout_s: float, arguments: dict[str, Any] | None = None
) -> AbstractQueue:
    return await channel.declare_queue(
        name,
        durable=True,
        arguments={"x-queue-type": "quorum", **(arguments or {})},
        timeout=timeout_s,
    )
