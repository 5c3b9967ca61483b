"""A service's link to RabbitMQ: connects, declares, and starts over whenever the link is lost.

A link is used until it breaks and is then discarded as a whole. The broker delivers unacknowledged
messages again on the next link. A message published without a confirm may have been lost: its
publisher repeats it.
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

from freehold.aio.first_contact import FirstContact
from freehold.aio.tasks import end
from freehold.contracts.messages import Appended, Projected
from freehold.messaging.fitness import (
    BLOCKED,
    UnfitBrokerError,
    is_blocked,
    refuse_old,
    unfitness_named,
)
from freehold.messaging.spans import doorbell_span
from freehold.messaging.topology import LEDGER_EXCHANGE, PROJECTOR_QUEUE, appended_key, declare
from freehold.observability import traces

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
    """The link broke or the broker refused. What was being sent may or may not have arrived."""


@contextmanager
def link_failures() -> Iterator[None]:
    """Turn whatever a breaking link raises into LinkError.

    The driver cancels tasks that wait on a link when it closes. Such a task must get LinkError,
    unless it was cancelled itself.

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
        prefetch: int = 100,
        queue: str = PROJECTOR_QUEUE,
        declaring: Declare = declare,
        redeliver_one_at_a_time: bool = False,
    ) -> None:
        """Describe the link.

        Args:
            url: The broker's AMQP URL.
            name: Shown among the broker's connections.
            timeout_s: Bounds connecting, declaring and each confirm.
            prefetch: How many deliveries may be unacknowledged.
            queue: What is consumed.
            declaring: Declares the exchanges and queues that the link is for.
            redeliver_one_at_a_time: Take redelivered messages one at a time: one of them may have
                broken the link or this process, and only that one may be counted as faulty. For
                consumers that settle each delivery soon.
        """
        self._url = url
        self._name = name
        self._timeout_s = timeout_s
        self._on_delivery: OnDelivery | None = None
        self._prefetch = prefetch
        self._queue = queue
        self._declaring = declaring
        self._redeliver_one_at_a_time = redeliver_one_at_a_time
        self._one_at_a_time = False
        self._publishing: AbstractChannel | None = None
        self._consumer: tuple[AbstractQueue, str] | None = None
        self._subscribing = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._broken = asyncio.Event()
        self._whole: AbstractConnection | None = None
        self._unfitness: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the link is up, consumes if it should, and may publish."""
        return self._whole is not None and not is_blocked(self._whole)

    @property
    def unfitness(self) -> str | None:
        """Why Freehold cannot use this broker, where that is known."""
        return BLOCKED if self._whole is not None and is_blocked(self._whole) else self._unfitness

    @property
    def prefetch(self) -> int:
        """How many deliveries may be unacknowledged now."""
        return 1 if self._one_at_a_time else self._prefetch

    def consume(self, on_delivery: OnDelivery) -> None:
        """Have each delivery of the queue handled. To be called before `open`."""
        self._on_delivery = on_delivery

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
            await end(self._keeper)

    async def ring(self, doorbell: Appended, causes: traces.Causes = ()) -> None:
        """Publish the doorbell of an append and wait for the broker's confirm; as `publish`.

        Raises:
            LinkError: There was no confirm in time, or there is no queue for it.
        """
        await self.publish(appended_key(doorbell.subject), doorbell, mandatory=True, causes=causes)

    async def publish(
        self,
        key: str,
        doorbell: Appended | Projected,
        *,
        mandatory: bool,
        causes: traces.Causes = (),
    ) -> None:
        """Publish a doorbell and wait for the broker's confirm.

        Args:
            key: The routing key.
            doorbell: What is published.
            mandatory: Whether a doorbell without a queue to go to is a failure.
            causes: What it is published for, in traces.

        Raises:
            LinkError: There was no confirm in time, or no queue where one is mandatory.
        """
        if self._publishing is None:
            raise LinkError("the broker is not connected")
        exchange = await self._publishing.get_exchange(LEDGER_EXCHANGE, ensure=False)
        with doorbell_span(
            f"send {LEDGER_EXCHANGE}",
            causes,
            operation="send",
            destination=LEDGER_EXCHANGE,
            tenant_id=doorbell.subject,
        ):
            message = _message(doorbell.model_dump_json().encode(), str(doorbell.id))
            await self._send(exchange, key, message, mandatory=mandatory)

    async def put(self, queue: str, message: aio_pika.Message, *, mandatory: bool = True) -> None:
        """Publish straight into a queue and wait for the confirm.

        Args:
            queue: Where it goes.
            message: What is put there.
            mandatory: Whether a missing queue is a failure.

        Raises:
            LinkError: There was no confirm in time.
        """
        if self._publishing is None:
            raise LinkError("the broker is not connected")
        exchange = self._publishing.default_exchange
        await self._send(exchange, queue, message, mandatory=mandatory)

    async def _send(
        self, exchange: AbstractExchange, key: str, message: aio_pika.Message, *, mandatory: bool
    ) -> None:
        with link_failures():
            await exchange.publish(message, key, mandatory=mandatory, timeout=self._timeout_s)

    async def _keep(self) -> None:
        complained = False
        first: FirstContact | None = FirstContact("the broker")
        while True:
            connection: AbstractConnection | None = None
            try:
                with link_failures(), unfitness_named():
                    async with asyncio.timeout(2 * self._timeout_s):
                        connection = await self._link()
                _log.info("broker connected", link=self._name)
                complained = False
                first = None
                self._unfitness = None
                self._whole = connection
                await self._broken.wait()
                _log.warning("broker lost", link=self._name)
            except UnfitBrokerError as error:
                if self._unfitness != str(error):
                    _log.error("the broker cannot be used", link=self._name, reason=str(error))
                self._unfitness = str(error)
            except LinkError as error:
                self._unfitness = None
                if first is not None:
                    first.log(error)
                elif not complained:
                    _log.warning("broker unreachable", link=self._name, fault=repr(error))
                complained = True
            except Exception:  # noqa: BLE001 (whatever a broker sends, the next link may do better)
                _log.exception("broker link failed", link=self._name)
            finally:
                self._publishing = self._consumer = None
                self._whole = None
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
        refuse_old(connection)
        connection.close_callbacks.add(lambda *_: broken.set())
        try:
            publishing = await connection.channel(publisher_confirms=True, on_return_raises=True)
            publishing.close_callbacks.add(lambda *_: broken.set())
            await self._declaring(publishing, self._timeout_s)
            # Before the first delivery: its consumer may publish.
            self._publishing = publishing
            if self._on_delivery is not None:
                consuming = await connection.channel()
                consuming.close_callbacks.add(lambda *_: broken.set())
                # The broker cancels the consumer of a queue that was deleted.
                underlay = await consuming.get_underlay_channel()
                underlay.on_consumer_cancel_callbacks.add(lambda _: broken.set())
                self._one_at_a_time = self._redeliver_one_at_a_time
                async with self._subscribing:
                    await self._subscribe(consuming, self._on_delivery)
        except BaseException:
            await self._end(connection)
            raise
        return connection

    async def _subscribe(self, channel: AbstractChannel, on_delivery: OnDelivery) -> None:
        async def take(delivery: Delivery) -> None:
            # A queue delivers redelivered messages first, and this is the first new one.
            if self._one_at_a_time and not delivery.redelivered:
                self._one_at_a_time = False
                await self._widen(delivery, on_delivery)
            else:
                await on_delivery(delivery)

        await channel.set_qos(prefetch_count=self.prefetch, timeout=self._timeout_s)
        queue = await channel.get_queue(self._queue, ensure=False)
        self._consumer = (queue, await queue.consume(take, timeout=self._timeout_s))

    async def _widen(self, delivery: Delivery, on_delivery: OnDelivery) -> None:
        """Subscribe again, with the full prefetch: a subscription cannot change its own.

        The delivery is handled between the two subscriptions, so that none can overtake it.
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
    """Return a delivery to its queue. On a broken link the broker does so by itself."""
    with suppress(LinkError), link_failures():
        async with asyncio.timeout(_ACKNOWLEDGE_S):
            await delivery.nack(requeue=True)


def lost(delivery: Delivery) -> bool:
    """Say whether a delivery's link has ended, so that the broker delivers it again."""
    try:
        return delivery.channel.is_closed
    except ChannelInvalidStateError:
        return True


def _message(body: bytes, message_id: str) -> aio_pika.Message:
    return aio_pika.Message(
        body,
        message_id=message_id,
        content_type="application/cloudevents+json",
        headers={**traces.sent()},
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
