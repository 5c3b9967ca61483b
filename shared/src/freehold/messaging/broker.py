"""A service's link to RabbitMQ: connects, declares, and starts over whenever the link is lost.

Each link is used until it breaks and is then thrown away whole: what was delivered on it and not
acknowledged comes again on the next, and what was published without a confirm is unknown, for the
publisher to repeat.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import aio_pika
import structlog
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractExchange,
    AbstractIncomingMessage,
    AbstractQueue,
)
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, ChannelInvalidStateError

from freehold.contracts.messages import Appended, Projected
from freehold.messaging.topology import (
    LEDGER_EXCHANGE,
    PROJECTOR_QUEUE,
    appended_key,
    declare,
)

_log = structlog.get_logger(__name__)

Delivery = AbstractIncomingMessage
OnDelivery = Callable[[Delivery], Awaitable[None]]
Declare = Callable[[AbstractChannel, float], Awaitable[None]]

_RETRY_S = 0.5
_HEARTBEAT_S = 10
_ACKNOWLEDGE_S = 5
LOST = (*CONNECTION_EXCEPTIONS, TimeoutError)
"""What a broken link or a refusing broker raises."""


class LinkError(Exception):
    """The link broke or the broker refused; what was under way is unknown."""


@contextmanager
def link_failures() -> Iterator[None]:
    """Turn whatever a breaking link raises into LinkError.

    The driver cancels what waits on a link that closes; a task that was not itself cancelled must
    not die of that.

    Raises:
        LinkError: The link broke or the broker refused.
    """
    try:
        yield
    except LOST as error:
        raise LinkError(repr(error)) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise LinkError("the link closed") from error


class Broker:
    """One link at a time, for publishing and, where asked for, consuming a queue."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        timeout_s: float,
        on_delivery: OnDelivery | None = None,
        prefetch: int = 100,
        queue: str = PROJECTOR_QUEUE,
        declaring: Declare = declare,
        wary: bool = False,
    ) -> None:
        """Describe the link.

        Args:
            url: The broker's AMQP URL.
            name: Shown among the broker's connections.
            timeout_s: Bounds connecting, declaring and each confirm.
            on_delivery: Called with each delivery; where None, nothing is consumed.
            prefetch: How many deliveries may be unacknowledged.
            queue: What is consumed.
            declaring: Declares the exchanges and queues that the link is for.
            wary: Take what is delivered again one at a time, since one of those may be what broke
                the link, or this process, and its neighbours must not be blamed for it. Only for a
                consumer that soon settles whatever it is given.
        """
        self._url = url
        self._name = name
        self._timeout_s = timeout_s
        self._on_delivery = on_delivery
        self._prefetch = prefetch
        self._queue = queue
        self._declaring = declaring
        self._wary = wary
        self._one_at_a_time = False
        self._publishing: AbstractChannel | None = None
        self._consumer: tuple[AbstractQueue, str] | None = None
        self._subscribing = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._broken = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether the link stands now."""
        return self._publishing is not None

    @property
    def prefetch(self) -> int:
        """How many deliveries may be unacknowledged now."""
        return 1 if self._one_at_a_time else self._prefetch

    async def open(self) -> None:
        """Begin linking; returns at once, whether the broker answers or not."""
        self._keeper = asyncio.create_task(self._keep())

    async def stop_consuming(self) -> None:
        """Take no more deliveries; those taken may still be acknowledged."""
        self._on_delivery = None
        async with self._subscribing:
            if self._consumer:
                queue, tag = self._consumer
                self._consumer = None
                with suppress(LinkError), link_failures():
                    await queue.cancel(tag, timeout=self._timeout_s)

    async def close(self) -> None:
        """End the link."""
        if self._keeper:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper

    async def ring(self, doorbell: Appended) -> None:
        """Publish the doorbell of an append and wait for the broker's confirm.

        Raises:
            LinkError: There was no confirm in time, or there is no queue for it.
        """
        await self.tell(appended_key(doorbell.subject), doorbell, mandatory=True)

    async def tell(self, key: str, doorbell: Appended | Projected, *, mandatory: bool) -> None:
        """Publish a doorbell and wait for the broker's confirm.

        Args:
            key: The routing key.
            doorbell: What is published.
            mandatory: Whether it is a failure that nobody listens.

        Raises:
            LinkError: There was no confirm in time, or nobody listens who should.
        """
        if self._publishing is None:
            raise LinkError("the broker is not connected")
        await self._publish(
            await self._publishing.get_exchange(LEDGER_EXCHANGE, ensure=False),
            key,
            _message(doorbell.model_dump_json().encode(), str(doorbell.id)),
            mandatory=mandatory,
        )

    async def put(self, queue: str, message: aio_pika.Message, *, mandatory: bool = True) -> None:
        """Publish straight into a queue and wait for the confirm.

        Args:
            queue: Where it goes.
            message: What is put there.
            mandatory: Whether it is a failure that there is no such queue.

        Raises:
            LinkError: There was no confirm in time.
        """
        if self._publishing is None:
            raise LinkError("the broker is not connected")
        exchange = self._publishing.default_exchange
        await self._publish(exchange, queue, message, mandatory=mandatory)

    async def _publish(
        self,
        exchange: AbstractExchange,
        key: str,
        message: aio_pika.Message,
        *,
        mandatory: bool,
    ) -> None:
        with link_failures():
            await exchange.publish(message, key, mandatory=mandatory, timeout=self._timeout_s)

    async def _keep(self) -> None:
        complained = False
        while True:
            connection: AbstractConnection | None = None
            try:
                with link_failures():
                    async with asyncio.timeout(2 * self._timeout_s):
                        connection = await self._link()
                _log.info("broker connected", link=self._name)
                complained = False
                await self._broken.wait()
                _log.warning("broker lost", link=self._name)
            except LinkError as error:
                if not complained:
                    _log.warning("broker unreachable", link=self._name, fault=repr(error))
                complained = True
            except Exception:  # noqa: BLE001 (whatever a broker sends, the next link may do better)
                _log.exception("broker link failed", link=self._name)
            finally:
                self._publishing = self._consumer = None
                if connection is not None:
                    await self._end(connection)
            await asyncio.sleep(_RETRY_S)

    async def _link(self) -> AbstractConnection:
        connection = await aio_pika.connect(
            self._url,
            timeout=self._timeout_s,
            heartbeat=_HEARTBEAT_S,
            client_properties={"connection_name": self._name},
        )
        broken = self._broken = asyncio.Event()
        connection.close_callbacks.add(lambda *_: broken.set())
        try:
            publishing = await connection.channel(publisher_confirms=True, on_return_raises=True)
            publishing.close_callbacks.add(lambda *_: broken.set())
            await self._declaring(publishing, self._timeout_s)
            # Before the first delivery: whoever gets it may have something to publish.
            self._publishing = publishing
            if self._on_delivery is not None:
                consuming = await connection.channel()
                consuming.close_callbacks.add(lambda *_: broken.set())
                # The broker cancels the consumer of a queue that was deleted.
                underlay = await consuming.get_underlay_channel()
                underlay.on_consumer_cancel_callbacks.add(lambda _: broken.set())
                self._one_at_a_time = self._wary
                async with self._subscribing:
                    await self._subscribe(consuming, self._on_delivery)
        except BaseException:
            await self._end(connection)
            raise
        return connection

    async def _subscribe(self, channel: AbstractChannel, on_delivery: OnDelivery) -> None:
        async def take(delivery: Delivery) -> None:
            # The queue gives out first what is delivered again: this one, and what follows, is not.
            if self._one_at_a_time and not delivery.redelivered:
                self._one_at_a_time = False
                await self._widen(delivery, on_delivery)
            else:
                await on_delivery(delivery)

        await channel.set_qos(prefetch_count=self.prefetch, timeout=self._timeout_s)
        queue = await channel.get_queue(self._queue, ensure=False)
        self._consumer = (queue, await queue.consume(take, timeout=self._timeout_s))

    async def _widen(self, delivery: Delivery, on_delivery: OnDelivery) -> None:
        """Subscribe anew, since a subscription cannot change how much it takes at a time.

        The delivery is handed on between the two, when nothing can overtake it.
        """
        broken = self._broken
        async with self._subscribing:
            if self._consumer is None:
                await on_delivery(delivery)
                return
            queue, tag = self._consumer
            try:
                with link_failures():
                    await queue.cancel(tag, timeout=self._timeout_s)
                    await on_delivery(delivery)
                    await self._subscribe(queue.channel, on_delivery)
            except LinkError:
                broken.set()

    async def _end(self, connection: AbstractConnection) -> None:
        with suppress(LinkError), link_failures():
            async with asyncio.timeout(self._timeout_s):
                await connection.close()


async def acknowledge(deliveries: Iterable[Delivery]) -> None:
    """Acknowledge deliveries; on a broken link they come again."""
    with suppress(LinkError), link_failures():
        async with asyncio.timeout(_ACKNOWLEDGE_S):
            for delivery in deliveries:
                await delivery.ack()


async def give_back(delivery: Delivery) -> None:
    """Have a delivery come again; on a broken link it does so by itself."""
    with suppress(LinkError), link_failures():
        async with asyncio.timeout(_ACKNOWLEDGE_S):
            await delivery.nack(requeue=True)


def lost(delivery: Delivery) -> bool:
    """Say whether the link has ended on which a delivery came, so that it comes again."""
    try:
        return delivery.channel.is_closed
    except ChannelInvalidStateError:
        return True


def _message(body: bytes, message_id: str) -> aio_pika.Message:
    return aio_pika.Message(
        body,
        message_id=message_id,
        content_type="application/cloudevents+json",
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )


def copy_of(delivery: Delivery, headers: Mapping[str, Any]) -> aio_pika.Message:
    """Make a message with a delivery's body and properties, to be put into another queue.

    Left out are the user's id, which the broker takes from that user alone, and how long the
    message was meant to live in the queue that it came from.
    """
    return aio_pika.Message(
        delivery.body,
        message_id=delivery.message_id,
        correlation_id=delivery.correlation_id,
        reply_to=delivery.reply_to,
        content_type=delivery.content_type,
        content_encoding=delivery.content_encoding,
        type=delivery.type,
        app_id=delivery.app_id,
        timestamp=delivery.timestamp,
        headers={**headers},
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )
