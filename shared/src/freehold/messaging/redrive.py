"""Parked doorbells: counting them, and moving them back into the projector's queue.

It needs only the broker. The projector's command and tenant-manager use it.
"""

from collections.abc import Awaitable, Callable

import aio_pika

from freehold.messaging.broker import copy_of
from freehold.messaging.topology import PARKED_QUEUE, PROJECTOR_QUEUE, declare

REDRIVE_HEADER = "x-freehold-redrive"


async def count_parked(url: str, *, timeout_s: float) -> int:
    """Count the parked doorbells.

    Args:
        url: The broker's AMQP URL.
        timeout_s: Bounds connecting, and the question.

    Raises:
        aio_pika.exceptions.AMQPError, OSError, TimeoutError: The broker does not answer.
    """
    connection = await aio_pika.connect(url, timeout=timeout_s)
    async with connection:
        channel = await connection.channel()
        await declare(channel, timeout_s)
        parked = await channel.declare_queue(PARKED_QUEUE, passive=True, timeout=timeout_s)
        return parked.declaration_result.message_count or 0


async def redrive(
    url: str,
    *,
    run: str,
    limit: int | None,
    timeout_s: float,
    on_moved: Callable[[int], Awaitable[None]] | None = None,
) -> int:
    """Move parked doorbells back into the projector's queue; return how many.

    Each moves once: a doorbell that is parked again carries this run's mark, and ends the run.

    Args:
        url: The broker's AMQP URL.
        run: The mark. An interrupted run goes on under the same mark.
        limit: How many at most; None for all.
        timeout_s: Bounds connecting, and each message on its way.
        on_moved: Called after each doorbell with the number moved so far.

    Raises:
        aio_pika.exceptions.AMQPError, OSError, TimeoutError: The broker does not answer; doorbells
            moved by then stay moved; none is lost.
    """
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
            if delivery.headers.get(REDRIVE_HEADER) == run:
                # Published again, since RabbitMQ 4 drops messages that were returned too often.
                kept = {name: str(value) for name, value in delivery.headers.items()}
                await channel.default_exchange.publish(
                    copy_of(delivery, kept), PARKED_QUEUE, timeout=timeout_s
                )
                await delivery.ack()
                break
            message = copy_of(delivery, {REDRIVE_HEADER: run})
            await channel.default_exchange.publish(message, PROJECTOR_QUEUE, timeout=timeout_s)
            await delivery.ack()
            moved += 1
            if on_moved is not None:
                await on_moved(moved)
    return moved
