"""AMQP in: each message of `freehold.inbound` goes the way of a request over HTTP.

A message is acknowledged once it has been dealt with: its events are committed, or it is kept among
the refused, or it waits in a queue out of which it comes back. Whatever happens before, it is
delivered again, and its id makes that harmless.

One tenant in trouble keeps no others waiting: while their messages cannot be dealt with, one at a
time is tried, with growing pauses, and the rest is set aside untried.
"""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aio_pika
import structlog

from freehold.contracts.problems import BODY_TOO_LARGE, INTERNAL, Problem, overloaded
from freehold.messaging.broker import Broker, Delivery, LinkError, acknowledge, give_back, lost
from freehold.messaging.topology import (
    INBOUND_DELIVERIES_MAX,
    INBOUND_QUEUE,
    OWN_PREFIX,
    REFUSED_QUEUE,
    WAITING_S,
    declare_inbound,
    waiting_queue,
)
from freehold.security.api_keys import Scope
from freehold.service.authentication import authenticate
from freehold.tenancy.directory import Directory
from freehold_ingest.answers import Reply
from freehold_ingest.envelopes import (
    authorization,
    deliveries,
    faults,
    is_batch,
    refused_copy,
    reply_message,
    waiting_copy,
)
from freehold_ingest.intake import Intake
from freehold_ingest.keys import usable_key
from freehold_ingest.limits import Limits
from freehold_ingest.metrics import INBOUND_MESSAGES
from freehold_ingest.settings import Settings

_log = structlog.get_logger(__name__)

_NOT_NOW = frozenset({429, 503})
_KEY_PLACE = "the property message_id"
_BROKER_TIMEOUT_S = 5.0
_RETRY_S = 1.0
# A longer pause begins after so many failures.
_FAILURES_A_PAUSE = 4
# About half a minute, with those pauses.
_FAULTS_MAX = 8
# Refused by ourselves, with the reason and without the credential, before the broker does it.
_DELIVERIES_MAX = INBOUND_DELIVERIES_MAX // 2
# One tenant's bodies in the intake at once. At the least an event has 70 bytes, so that this is
# less than may wait for one tenant.
_IN_FLIGHT_BYTES_MAX = 2 * 2**20
# How long one tenant may hold, without an answer, what others could have.
_PATIENCE_S = 2.0
_LOOK_EVERY_S = 0.5
# How long after the pause a tenant is known to be in trouble of whom nothing comes.
_REMEMBERED_S = 5.0

Outcome = Reply | Problem


@dataclass(slots=True)
class _Lane:
    """What has come with one credential, and how its tenant fares."""

    credential: str | None = field(repr=False)
    waiting: deque[Delivery] = field(default_factory=deque)
    in_flight: int = 0
    in_flight_max: int = 1
    in_flight_bytes: int = 0
    deadlines: set[asyncio.Timeout] = field(default_factory=set)
    moved_at: float = 0.0
    """When there was last an answer, or the first of what is in flight began."""
    proven: bool = False
    """Whether the last answer was one: many may go at once."""
    failures: int = 0
    closed_until: float = 0.0


class Inbound:
    """Takes messages from `freehold.inbound`, on a link of its own."""

    def __init__(
        self, settings: Settings, directory: Directory, limits: Limits, intake: Intake
    ) -> None:
        self._directory = directory
        self._limits = limits
        self._intake = intake
        self._requests_max = settings.tenant_requests_max
        self._timeout_s = settings.request_timeout_s
        self._body_bytes_max = settings.body_bytes_max
        # Not the doorbells' link: a broker short of memory holds up whoever publishes on a link,
        # and a message that breaks its link must not cost a doorbell.
        self._link = Broker(
            settings.amqp_url.get_secret_value(),
            name="freehold-ingest-inbound",
            timeout_s=_BROKER_TIMEOUT_S,
            on_delivery=self.on_delivery,
            prefetch=settings.inbound_prefetch,
            queue=INBOUND_QUEUE,
            declaring=declare_inbound,
            wary=True,
        )
        self._lanes: dict[str | None, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._taken = 0
        self._watcher: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin, whether the broker answers or not."""
        self._watcher = asyncio.create_task(self._watch())
        await self._link.open()

    async def close(self, timeout_s: float) -> None:
        """Take no more, and deal with what was taken for at most so long; the rest comes again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._link.stop_consuming()
                while self._tasks:
                    await asyncio.wait(self._tasks)
        left = [*self._tasks, *([self._watcher] if self._watcher else [])]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._link.close()

    async def on_delivery(self, delivery: Delivery) -> None:
        """Take a delivery; returns at once, so that the order is kept."""
        self._taken += 1
        try:
            self._look_at(delivery)
        except Problem as problem:
            self._spawn(delivery, self._settle(delivery, problem, WAITING_S[0]))
            return
        credential = authorization(delivery)
        lane = self._lanes.get(credential)
        if lane is None:
            lane = self._lanes[credential] = _Lane(credential)
        lane.waiting.append(delivery)
        self._advance(lane)

    def _look_at(self, delivery: Delivery) -> None:
        """Refuse what can be refused unread.

        Raises:
            Problem: internal, body-too-large, idempotency-key-missing, idempotency-key-invalid.
        """
        count = deliveries(delivery)
        if count >= _DELIVERIES_MAX:
            raise Problem(INTERNAL, f"delivered {count} times before and never dealt with")
        if len(delivery.body) > self._body_bytes_max:
            raise Problem(BODY_TOO_LARGE, f"a body may have at most {self._body_bytes_max} bytes")
        usable_key(delivery.message_id, _KEY_PLACE)

    def _advance(self, lane: _Lane) -> None:
        """Begin with what may begin, and set aside what would have to wait for too long."""
        now = time.monotonic()
        while lane.waiting and _may_begin(lane, now):
            delivery = lane.waiting.popleft()
            if not lane.in_flight:
                lane.moved_at = now
            lane.in_flight += 1
            lane.in_flight_bytes += len(delivery.body)
            self._spawn(delivery, self._serve(lane, delivery))
        while lane.failures and lane.waiting:
            delivery = lane.waiting.popleft()
            pause_s = _pause_s(lane.failures)
            self._spawn(delivery, self._set_aside(delivery, pause_s, faults(delivery)))
        if not (lane.waiting or lane.in_flight or lane.failures):
            self._lanes.pop(lane.credential, None)

    async def _serve(self, lane: _Lane, delivery: Delivery) -> None:
        outcome = await self._outcome(lane, delivery)
        lane.in_flight -= 1
        lane.in_flight_bytes -= len(delivery.body)
        self._learn(lane, outcome)
        self._advance(lane)
        await self._settle(delivery, outcome, _pause_s(lane.failures))

    async def _outcome(self, lane: _Lane, delivery: Delivery) -> Outcome:
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:
                lane.deadlines.add(deadline)
                try:
                    return await self._ask(lane, delivery)
                finally:
                    lane.deadlines.discard(deadline)
        except Problem as problem:
            return problem
        except TimeoutError:
            return overloaded("no answer in time")
        except Exception:  # noqa: BLE001 (the last resort: every failure gets an answer)
            _log.exception("message failed")
            return Problem(INTERNAL, "the service failed; its log has the message_id")

    async def _ask(self, lane: _Lane, delivery: Delivery) -> Reply:
        caller = await authenticate(self._directory, authorization(delivery), Scope.INGEST)
        home, key, body = caller.home, usable_key(delivery.message_id, _KEY_PLACE), delivery.body
        lane.in_flight_max = home.ingest_requests_max or self._requests_max
        share = self._limits.enter(home)
        try:
            if is_batch(body):
                # Where nobody wants an answer, the short one is less work.
                minimal = not delivery.reply_to
                return await self._intake.batch(home, key, body, minimal=minimal, in_order=True)
            return await self._intake.event(home, key, body, in_order=True)
        finally:
            share.leave()

    def _learn(self, lane: _Lane, outcome: Outcome) -> None:
        """See from an outcome whether the tenant's messages can be dealt with now."""
        now = lane.moved_at = time.monotonic()
        if not _is_not_now(outcome):
            lane.proven, lane.failures, lane.closed_until = True, 0, 0.0
            return
        lane.proven = False
        # What began before the pause has nothing new to tell.
        if now >= lane.closed_until:
            lane.failures += 1
            pause_s = _pause_s(lane.failures)
            lane.closed_until = now + pause_s
            _log.warning("messages set aside", fault=str(outcome), pause_s=pause_s)

    async def _settle(self, delivery: Delivery, outcome: Outcome, pause_s: int) -> None:
        """Do what an outcome asks for, and acknowledge the delivery."""
        if _is_not_now(outcome):
            await self._set_aside(delivery, pause_s, faults(delivery))
            return
        if isinstance(outcome, Problem):
            failed = faults(delivery) + 1
            if outcome.kind is INTERNAL and failed < _FAULTS_MAX and not _gave_up_on(delivery):
                await self._set_aside(delivery, _pause_s(failed), failed)
                return
            if not await self._put(delivery, REFUSED_QUEUE, refused_copy(delivery, outcome)):
                return
            _log.info("message refused", problem=outcome.kind.slug)
        await self._reply(delivery, outcome)
        await acknowledge([delivery])
        INBOUND_MESSAGES.labels("refused" if isinstance(outcome, Problem) else "accepted").inc()

    async def _set_aside(self, delivery: Delivery, pause_s: int, faults_so_far: int) -> None:
        copy = waiting_copy(delivery, faults_so_far)
        if await self._put(delivery, waiting_queue(pause_s), copy):
            await acknowledge([delivery])
            INBOUND_MESSAGES.labels("set_aside").inc()

    async def _put(self, delivery: Delivery, queue: str, message: aio_pika.Message) -> bool:
        """Put a copy into a queue, however often it takes; False where the delivery comes again."""
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
        """Answer whoever asked for it; nobody may have us write into queues of our own."""
        reply_to = delivery.reply_to
        if not reply_to or reply_to.startswith(OWN_PREFIX):
            return
        try:
            await self._link.put(reply_to, reply_message(delivery, outcome), mandatory=False)
        except LinkError:
            # Where the link is gone the message comes again, and is answered again.
            _log.info("reply not confirmed")

    def _spawn(self, delivery: Delivery, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._deal_with(delivery, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deal_with(self, delivery: Delivery, work: Coroutine[Any, Any, None]) -> None:
        try:
            with structlog.contextvars.bound_contextvars(message_id=delivery.message_id):
                await work
        except Exception:  # noqa: BLE001 (nothing of one message may keep another waiting)
            _log.exception("message not settled", message_id=delivery.message_id)
            await asyncio.sleep(_RETRY_S)
            await give_back(delivery)
        finally:
            self._taken -= 1

    async def _watch(self) -> None:
        """Cut short what hangs while others wait for its place, and forget who has recovered."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            now = time.monotonic()
            full = self._taken >= self._link.prefetch
            for lane in list(self._lanes.values()):
                if lane.in_flight:
                    if full and now - lane.moved_at > _PATIENCE_S:
                        for deadline in lane.deadlines:
                            if not deadline.expired():
                                deadline.reschedule(loop.time())
                elif now > lane.closed_until + _REMEMBERED_S:
                    del self._lanes[lane.credential]


def _may_begin(lane: _Lane, now: float) -> bool:
    """Say whether the next one of a lane may begin.

    The first goes alone. When it is answered, whatever is read once for all is known, and those
    that follow overtake each other no more.
    """
    if not lane.in_flight:
        return now >= lane.closed_until
    return (
        lane.proven
        and lane.in_flight < lane.in_flight_max
        and lane.in_flight_bytes + len(lane.waiting[0].body) <= _IN_FLIGHT_BYTES_MAX
    )


def _pause_s(failures: int) -> int:
    """Choose the pause after so many failures in a row."""
    return WAITING_S[min(max(failures - 1, 0) // _FAILURES_A_PAUSE, len(WAITING_S) - 1)]


def _is_not_now(outcome: Outcome) -> bool:
    return isinstance(outcome, Problem) and outcome.kind.status in _NOT_NOW


def _gave_up_on(delivery: Delivery) -> bool:
    return deliveries(delivery) >= _DELIVERIES_MAX
