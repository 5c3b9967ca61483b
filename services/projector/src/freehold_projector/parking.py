"""Parking: where doorbells go that cannot be served, with the reason, and the way back.

A parked doorbell loses nothing: the events stand in the ledger, and the next doorbell of the tenant
projects them too.
"""

from datetime import UTC, datetime
from uuid import uuid4

import aio_pika
import structlog

from freehold.messaging.broker import Broker, Delivery, acknowledge, copy_of
from freehold.messaging.topology import PARKED_QUEUE, PROJECTOR_QUEUE, declare
from freehold_projector.metrics import DOORBELLS

_log = structlog.get_logger(__name__)

REASON_HEADER = "x-freehold-reason"
_PARKED_AT_HEADER = "x-freehold-parked-at"
_REDRIVE_HEADER = "x-freehold-redrive"
_REASON_CHARACTERS_MAX = 500


async def park(broker: Broker, delivery: Delivery, reason: str) -> None:
    """Move a doorbell to the parked queue; acknowledged only once it is there.

    Raises:
        LinkError: The broker did not confirm; the delivery is still unacknowledged.
    """
    headers = {
        REASON_HEADER: reason[:_REASON_CHARACTERS_MAX],
        _PARKED_AT_HEADER: datetime.now(UTC).isoformat(),
    }
    redriven = delivery.headers.get(_REDRIVE_HEADER)
    if redriven is not None:
        headers[_REDRIVE_HEADER] = str(redriven)
    await broker.put(PARKED_QUEUE, copy_of(delivery, headers))
    await acknowledge([delivery])
    DOORBELLS.labels("parked").inc()
    _log.error("doorbell parked", reason=reason, message_id=delivery.message_id)


async def redrive(url: str, *, limit: int | None, timeout_s: float) -> int:
    """Put parked doorbells back into the projector's queue; answer how many.

    Each goes once: one that is parked again meanwhile carries this run's mark and ends it.

    Raises:
        aio_pika.exceptions.AMQPError, OSError, TimeoutError: The broker does not answer; doorbells
            moved by then stay moved, none is lost.
    """
    run = uuid4().hex
    moved = 0
    connection = await aio_pika.connect(url, timeout=timeout_s)
    async with connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        await declare(channel, timeout_s)
        parked = await channel.get_queue(PARKED_QUEUE, ensure=False)
        while limit is None or moved < limit:
            delivery = await parked.get(fail=False, timeout=timeout_s)
            if delivery is None:
                break
            if delivery.headers.get(_REDRIVE_HEADER) == run:
                # As a new message: RabbitMQ 4 drops one that was returned too often.
                kept = {name: str(value) for name, value in delivery.headers.items()}
                await channel.default_exchange.publish(
                    copy_of(delivery, kept), PARKED_QUEUE, timeout=timeout_s
                )
                await delivery.ack()
                break
            message = copy_of(delivery, {_REDRIVE_HEADER: run})
            await channel.default_exchange.publish(message, PROJECTOR_QUEUE, timeout=timeout_s)
            await delivery.ack()
            moved += 1
    return moved
