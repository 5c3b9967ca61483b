"""AMQP in: each message of `freehold.inbound` is handled as a request over HTTP is.

A message is acknowledged when its events are committed, when it is kept in the queue of refused
messages, or when it waits in a queue from which it comes back. Whatever happens before that, it is
delivered again, and its id makes that harmless.

One tenant in trouble delays no other. While its messages cannot be handled, one at a time is tried
after growing pauses, and the rest is set aside untried.
"""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import aio_pika
import structlog
from opentelemetry.trace import SpanKind

from freehold.aio.keyed_worker import KeyedWorkers, Worker
from freehold.aio.tasks import end
from freehold.contracts.errors import DomainError, Internal, NotNow, Outage, Overloaded
from freehold.http.authentication import authenticate
from freehold.http.codings import too_large
from freehold.http.direct import Reply
from freehold.messaging.broker import Broker, Delivery, LinkError, acknowledge, give_back, lost
from freehold.messaging.spans import message_attributes
from freehold.messaging.topology import (
    INBOUND_DELIVERIES_MAX,
    INBOUND_QUEUE,
    REFUSED_QUEUE,
    WAITING_S,
    declare_inbound,
    declare_nothing,
    waiting_queue,
)
from freehold.observability import traces
from freehold.observability.logs import named_tenant
from freehold.security.api_keys import Scope
from freehold.tenants.directory import Directory
from freehold.tenants.traffic import Traffic
from freehold_ingest.envelopes import (
    authorization,
    content,
    deliveries,
    faults,
    is_batch,
    is_direct,
    refused_copy,
    reply_address,
    reply_message,
    waiting_copy,
)
from freehold_ingest.intake import Intake
from freehold_ingest.keys import usable_key
from freehold_ingest.limits import Limits
from freehold_ingest.metrics import INBOUND_MESSAGES
from freehold_ingest.settings import Settings

_log = structlog.get_logger(__name__)

_KEY_NAME = "the property message_id"
_BROKER_TIMEOUT_S = 5.0
_RETRY_S = 1.0
# The first may be lost with the link, which the answer to another message broke.
_DIRECT_REPLY_TRIES = 2
# After this many failures the next longer pause begins.
_FAILURES_A_PAUSE = 4
# With those pauses about half a minute.
_FAULTS_MAX = 8
# Half of the broker's limit: refused here, the message has a reason and no credential.
_DELIVERIES_MAX = INBOUND_DELIVERIES_MAX // 2
# One tenant's bodies in the intake at once. An event has at least 70 bytes, so these are fewer
# events than may wait for one tenant.
_IN_FLIGHT_BYTES_MAX = 2 * 2**20
# How long a tenant without an answer may occupy what others could use.
_PATIENCE_S = 2.0
_LOOK_EVERY_S = 0.5
# How long after a pause the failures of a tenant are remembered while nothing of it comes.
_REMEMBERED_S = 5.0

Outcome = Reply | DomainError


@dataclass(slots=True, eq=False)
class _Sender(Worker[str | None]):
    """What has come with one credential, which is its key, and how its tenant fares."""

    key: str | None = field(repr=False)
    waiting: deque[Delivery] = field(default_factory=deque)
    in_flight: int = 0
    in_flight_max: int = 1
    in_flight_bytes: int = 0
    deadlines: set[asyncio.Timeout] = field(default_factory=set)
    moved_at: float = 0.0
    """When the last message was answered, or the first of those in flight began."""
    proven: bool = False
    """Whether the last outcome was not "not now": many may go at once."""
    failures: int = 0
    closed_until: float = 0.0

    @property
    def pending(self) -> bool:
        remembered_until = self.closed_until + _REMEMBERED_S
        return bool(self.waiting or self.in_flight) or time.monotonic() < remembered_until


class Inbound:
    """Takes messages from `freehold.inbound`, on a link of its own; direct replies have another."""

    def __init__(
        self,
        settings: Settings,
        directory: Directory,
        limits: Limits,
        intake: Intake,
        traffic: Traffic,
    ) -> None:
        self._directory = directory
        self._limits = limits
        self._intake = intake
        self._traffic = traffic
        self._requests_max = settings.tenant_requests_max
        self._timeout_s = settings.request_timeout_s
        self._body_bytes_max = settings.body_bytes_max
        self._unpacked_bytes = 0
        self._unpacked_bytes_max = settings.all_bodies_bytes_max
        # Not the doorbells' link: a broker short of memory blocks links that publish, and a message
        # that breaks its link must not cost a doorbell.
        self._link = Broker(
            settings.amqp_url.get_secret_value(),
            name="freehold-ingest-inbound",
            timeout_s=_BROKER_TIMEOUT_S,
            prefetch=settings.inbound_prefetch,
            queue=INBOUND_QUEUE,
            declaring=declare_inbound,
            redeliver_one_at_a_time=True,
        )
        # RabbitMQ ends a connection that publishes to a direct reply-to which it cannot read, and
        # the publisher chooses that name.
        self._replying = Broker(
            settings.amqp_url.get_secret_value(),
            name="freehold-ingest-replies",
            timeout_s=_BROKER_TIMEOUT_S,
            declaring=declare_nothing,
        )
        self._senders: KeyedWorkers[str | None, _Sender] = KeyedWorkers(_Sender, self._look_after)
        self._tasks: set[asyncio.Task[None]] = set()
        self._taken = 0

    @property
    def link(self) -> Broker:
        """Its link to the broker."""
        return self._link

    async def open(self) -> None:
        """Begin; returns at once, whether the broker answers or not."""
        self._link.consume(self.on_delivery)
        await self._link.open()
        await self._replying.open()

    async def close(self, timeout_s: float) -> None:
        """Take no more; handle what was taken, for at most `timeout_s`. The rest comes again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._link.stop_consuming()
                while self._tasks:
                    await asyncio.wait(self._tasks)
        await end(*self._tasks)
        await self._senders.close(0)
        await self._link.close()
        await self._replying.close()

    async def on_delivery(self, delivery: Delivery) -> None:
        """Take a delivery; returns at once, which keeps the order."""
        self._taken += 1
        try:
            self._look_at(delivery)
        except DomainError as error:
            self._spawn(delivery, self._settle(delivery, error, WAITING_S[0]))
            return
        sender = self._senders.wake(authorization(delivery))
        sender.waiting.append(delivery)
        self._advance(sender)

    def _look_at(self, delivery: Delivery) -> None:
        """Refuse what can be refused without reading the body.

        Raises:
            ReplyNotAllowed, BodyTooLarge, IdempotencyKeyMissing, IdempotencyKeyInvalid: It breaks a
                rule.
            Internal: It was delivered too often without an end.
        """
        reply_address(delivery)
        count = deliveries(delivery)
        if count >= _DELIVERIES_MAX:
            raise Internal(f"delivered {count} times before and never dealt with")
        if len(delivery.body) > self._body_bytes_max:
            raise too_large(self._body_bytes_max)
        usable_key(delivery.message_id, _KEY_NAME)

    def _advance(self, sender: _Sender) -> None:
        """Begin with what may begin, and set aside what would wait too long."""
        now = time.monotonic()
        while sender.waiting and _may_begin(sender, now):
            delivery = sender.waiting.popleft()
            if not sender.in_flight:
                sender.moved_at = now
            sender.in_flight += 1
            sender.in_flight_bytes += len(delivery.body)
            self._spawn(delivery, self._serve(sender, delivery))
        while sender.failures and sender.waiting:
            delivery = sender.waiting.popleft()
            pause_s = _pause_s(sender.failures)
            self._spawn(delivery, self._set_aside(delivery, pause_s, faults(delivery)))

    async def _serve(self, sender: _Sender, delivery: Delivery) -> None:
        outcome = await self._outcome(sender, delivery)
        if (tenant_id := named_tenant()) is not None:
            self._traffic.answered(tenant_id, failed=isinstance(outcome, Outage | Internal))
        sender.in_flight -= 1
        sender.in_flight_bytes -= len(delivery.body)
        self._learn(sender, outcome)
        self._advance(sender)
        await self._settle(delivery, outcome, _pause_s(sender.failures))

    async def _outcome(self, sender: _Sender, delivery: Delivery) -> Outcome:
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:
                sender.deadlines.add(deadline)
                try:
                    return await self._ask(sender, delivery)
                finally:
                    sender.deadlines.discard(deadline)
        except DomainError as error:
            return error
        except TimeoutError:
            return Overloaded("no answer in time")
        except Exception:  # noqa: BLE001 (the last resort: every failure gets an answer)
            _log.exception("message failed")
            return Internal("the service failed; its log has the message_id")

    async def _ask(self, sender: _Sender, delivery: Delivery) -> Reply:
        caller = await authenticate(self._directory, authorization(delivery), Scope.INGEST)
        home, key = caller.home, usable_key(delivery.message_id, _KEY_NAME)
        sender.in_flight_max = home.ingest_requests_max or self._requests_max
        with self._limits.enter(home), self._unpacked(delivery) as body:
            if is_batch(body):
                # Without a reply address the short answer is less work.
                minimal = not delivery.reply_to
                return await self._intake.batch(home, key, body, minimal=minimal, in_order=True)
            return await self._intake.event(home, key, body, in_order=True)

    @contextmanager
    def _unpacked(self, delivery: Delivery) -> Iterator[bytes]:
        """Unpack a message's body; the bytes of all unpacked bodies together are bounded.

        Raises:
            DomainError: overloaded, and as `content`.
        """
        body = content(delivery, bytes_max=self._body_bytes_max)
        # What the broker sent is in memory already.
        more = len(body) - len(delivery.body)
        if self._unpacked_bytes + more > self._unpacked_bytes_max:
            raise Overloaded("too many bytes of packed messages are being worked on")
        self._unpacked_bytes += more
        try:
            yield body
        finally:
            self._unpacked_bytes -= more

    def _learn(self, sender: _Sender, outcome: Outcome) -> None:
        """Learn from an outcome whether the tenant's messages can be handled now."""
        now = sender.moved_at = time.monotonic()
        if not _is_not_now(outcome):
            sender.proven, sender.failures, sender.closed_until = True, 0, 0.0
            return
        sender.proven = False
        # What began before the pause says nothing new.
        if now >= sender.closed_until:
            sender.failures += 1
            pause_s = _pause_s(sender.failures)
            sender.closed_until = now + pause_s
            _log.warning("messages set aside", fault=str(outcome), pause_s=pause_s)

    async def _settle(self, delivery: Delivery, outcome: Outcome, pause_s: int) -> None:
        """Accept, refuse or set aside the delivery according to its outcome, and acknowledge it."""
        if _is_not_now(outcome):
            await self._set_aside(delivery, pause_s, faults(delivery))
            return
        if isinstance(outcome, DomainError):
            failed = faults(delivery) + 1
            if isinstance(outcome, Internal) and failed < _FAULTS_MAX and not _gave_up_on(delivery):
                await self._set_aside(delivery, _pause_s(failed), failed)
                return
            if not await self._put(delivery, REFUSED_QUEUE, refused_copy(delivery, outcome)):
                return
            _log.info("message refused", problem=outcome.slug)
        await self._reply(delivery, outcome)
        await acknowledge([delivery])
        INBOUND_MESSAGES.labels("refused" if isinstance(outcome, DomainError) else "accepted").inc()

    async def _set_aside(self, delivery: Delivery, pause_s: int, faults_so_far: int) -> None:
        copy = waiting_copy(delivery, faults_so_far)
        if await self._put(delivery, waiting_queue(pause_s), copy):
            await acknowledge([delivery])
            INBOUND_MESSAGES.labels("set_aside").inc()

    async def _put(self, delivery: Delivery, queue: str, message: aio_pika.Message) -> bool:
        """Put a copy into a queue, and retry until confirmed. False: the delivery comes again."""
        tries = 0
        while not lost(delivery):
            try:
                await self._link.put(queue, message)
            except LinkError as error:
                tries += 1
                if tries == 1:
                    _log.warning("not confirmed; trying again", queue=queue, fault=str(error))
                await asyncio.sleep(_RETRY_S)
            else:
                return True
        return False

    async def _reply(self, delivery: Delivery, outcome: Outcome) -> None:
        """Publish the answer to the reply address, if there is one that is allowed."""
        try:
            address = reply_address(delivery)
        except DomainError:
            return
        if address is None:
            return
        link, tries = (
            (self._replying, _DIRECT_REPLY_TRIES) if is_direct(address) else (self._link, 1)
        )
        for left in reversed(range(tries)):
            try:
                # Not mandatory: before RabbitMQ 4.2 a direct reply-to does not count as a queue.
                await link.put(address, reply_message(delivery, outcome), mandatory=False)
            except LinkError:
                # If the message's own link is gone, it comes again and is answered again.
                _log.info("reply not confirmed")
            else:
                return
            if left:
                await asyncio.sleep(_RETRY_S)

    def _spawn(self, delivery: Delivery, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._deal_with(delivery, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deal_with(self, delivery: Delivery, work: Coroutine[Any, Any, None]) -> None:
        try:
            with (
                structlog.contextvars.bound_contextvars(message_id=delivery.message_id),
                traces.request_span(
                    f"process {INBOUND_QUEUE}",
                    SpanKind.CONSUMER,
                    delivery.headers,
                    message_attributes("process", INBOUND_QUEUE),
                ),
            ):
                await work
        except Exception:  # noqa: BLE001 (nothing of one message may keep another waiting)
            _log.exception("message not settled", message_id=delivery.message_id)
            await asyncio.sleep(_RETRY_S)
            await give_back(delivery)
        finally:
            self._taken -= 1

    async def _look_after(self, sender: _Sender) -> None:
        """Cut short what hangs while other senders' messages wait for the prefetch."""
        await sender.pause(_LOOK_EVERY_S)
        is_full = self._taken >= self._link.prefetch
        if sender.in_flight and is_full and time.monotonic() - sender.moved_at > _PATIENCE_S:
            for deadline in sender.deadlines:
                if not deadline.expired():
                    deadline.reschedule(asyncio.get_running_loop().time())


def _may_begin(sender: _Sender, now: float) -> bool:
    """Say whether a sender's next message may begin.

    The first goes alone. When it is answered, what is read once for all of them is cached, and
    those that follow no longer overtake each other.
    """
    if not sender.in_flight:
        return now >= sender.closed_until
    return (
        sender.proven
        and sender.in_flight < sender.in_flight_max
        and sender.in_flight_bytes + len(sender.waiting[0].body) <= _IN_FLIGHT_BYTES_MAX
    )


def _pause_s(failures: int) -> int:
    """Choose the pause after this many failures in a row."""
    return WAITING_S[min(max(failures - 1, 0) // _FAILURES_A_PAUSE, len(WAITING_S) - 1)]


def _is_not_now(outcome: Outcome) -> bool:
    return isinstance(outcome, NotNow)


def _gave_up_on(delivery: Delivery) -> bool:
    return deliveries(delivery) >= _DELIVERIES_MAX
