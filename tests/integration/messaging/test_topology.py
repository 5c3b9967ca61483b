"""The queues as a broker has them, one that is new and one that has kept them for years."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractQueue

from freehold.messaging import topology
from support.waiting import eventually

# RabbitMQ 4 drops what was given back 20 times, unless the queue says otherwise.
TIMES = 25
TIMEOUT_S = 10


async def test_looking_at_what_is_parked_or_refused_costs_nothing(channel: AbstractChannel) -> None:
    await topology.declare(channel, TIMEOUT_S)
    await topology.declare_inbound(channel, TIMEOUT_S)
    for name in (topology.PARKED_QUEUE, topology.REFUSED_QUEUE):
        queue = await channel.get_queue(name)
        await channel.default_exchange.publish(aio_pika.Message(b"kept"), name, timeout=TIMEOUT_S)
        for _ in range(TIMES):
            await (await taken(queue)).nack(requeue=True)
        delivery = await taken(queue)
        assert delivery.body == b"kept"
        await delivery.ack()


async def test_a_queue_that_was_declared_before_is_taken_as_it_is(channel: AbstractChannel) -> None:
    before: dict[str, Any] = {"x-queue-type": "quorum"}
    await channel.declare_queue(topology.PARKED_QUEUE, durable=True, arguments=before)
    for _ in range(2):
        await topology.declare(channel, TIMEOUT_S)


async def taken(queue: AbstractQueue) -> aio_pika.abc.AbstractIncomingMessage:
    """Take the one message of a queue; it takes the broker a moment to give it back."""

    async def there() -> aio_pika.abc.AbstractIncomingMessage | None:
        return await queue.get(fail=False, timeout=TIMEOUT_S)

    return await eventually(there, "the message is there")


@pytest.fixture
async def channel(amqp_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AbstractChannel]:
    """A broker on which the queues are not declared yet: they have names of this test's own."""
    names = (
        "PARKED_QUEUE",
        "PROJECTOR_QUEUE",
        "REFUSED_QUEUE",
        "INBOUND_QUEUE",
        "INBOUND_EXCHANGE",
    )
    queues = [f"freehold-test.{name}.{uuid4().hex}" for name in names]
    for name, queue in zip(names, queues, strict=True):
        monkeypatch.setattr(topology, name, queue)
    monkeypatch.setattr(topology, "WAITING_S", ())
    async with await aio_pika.connect(amqp_url, timeout=TIMEOUT_S) as connection:
        channel = await connection.channel()
        yield channel
        await channel.exchange_delete(topology.INBOUND_EXCHANGE)
        for queue in queues[:-1]:
            await channel.queue_delete(queue)
