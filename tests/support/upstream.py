"""An upstream app that publishes its payment events to RabbitMQ, and what it can see there."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from freehold.contracts.problems import PROBLEM_MEDIA_TYPE
from freehold.messaging.topology import INBOUND_EXCHANGE, REFUSED_QUEUE
from support.answers import check_problem_document
from support.clients import Tenant
from support.documents import Document
from support.waiting import eventually

_TIMEOUT_S = 10
_REPLY_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back to a reply queue."""

    status: Any
    content: bytes
    content_type: str | None
    headers: Mapping[str, Any]

    @property
    def document(self) -> Document:
        """The body, read."""
        document: Document = json.loads(self.content)
        return document


class Upstream:
    """An app with a connection to the broker and a queue for replies."""

    def __init__(self, channel: AbstractChannel, reply_queue: str) -> None:
        self.channel = channel
        self.reply_queue = reply_queue
        self._asked: dict[str, asyncio.Future[Answer]] = {}

    async def publish(
        self,
        api_key: str | None,
        body: Any,
        *,
        message_id: str | None = None,
        headers: Mapping[str, Any] | None = None,
        forged: tuple[bytes, bytes] = (b"", b""),
        **properties: Any,
    ) -> None:
        """Publish one message and wait for the broker's confirm; bytes are sent as they are.

        Where `forged` is given, its first bytes are replaced by its second in what is written.
        """
        sent = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        message = aio_pika.Message(
            body if isinstance(body, bytes) else json.dumps(body).encode(),
            message_id=message_id,
            headers={**sent, **(headers or {})},
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            **properties,
        )
        written = message.properties.marshal()
        assert forged[0] in written
        await self.publish_raw(message.body, written.replace(*forged, 1))

    async def publish_raw(self, body: bytes, properties: bytes) -> None:
        """Publish a message whose properties are written already, as no driver would."""
        channel = await self.channel.get_underlay_channel()
        await channel.basic_publish(
            body,
            exchange=INBOUND_EXCHANGE,
            routing_key="payments.card",
            properties=_Written(properties),  # type: ignore[arg-type]
            mandatory=True,
            timeout=_TIMEOUT_S,
        )

    async def ask(
        self, tenant: Tenant, body: Any, *, message_id: str | None = None, **more: Any
    ) -> Answer:
        """Publish a message of a tenant that asks for an answer, and give the answer."""
        return await self.ask_as(tenant.api_key, body, message_id=message_id or uuid4().hex, **more)

    async def ask_as(self, api_key: str | None, body: Any, **more: Any) -> Answer:
        """Publish a message that asks for an answer, with whatever key and id."""
        asked = more.pop("correlation_id", None) or uuid4().hex
        self._asked[asked] = asyncio.get_running_loop().create_future()
        await self.publish(
            api_key, body, **{"reply_to": self.reply_queue, "correlation_id": asked, **more}
        )
        async with asyncio.timeout(_REPLY_TIMEOUT_S):
            answer = await self._asked[asked]
        if answer.content_type == PROBLEM_MEDIA_TYPE:
            check_problem_document(answer.document)
        return answer

    async def hear(self, reply: AbstractIncomingMessage) -> None:
        """Take a reply."""
        headers = dict(reply.headers)
        status = headers.pop("status")
        answer = Answer(status, reply.body, reply.content_type, headers)
        self._asked.pop(reply.correlation_id or "").set_result(answer)

    async def refused(self, mark: str) -> AbstractIncomingMessage:
        """Wait until a message is kept among the refused, and take it from there.

        Args:
            mark: Its message_id or correlation_id.
        """

        async def there() -> AbstractIncomingMessage | None:
            return await self.take_refused(mark)

        return await eventually(there, f"message {mark} is refused")

    async def refused_count(self) -> int:
        """How many messages are kept among the refused."""
        queue = await self.channel.declare_queue(REFUSED_QUEUE, passive=True, timeout=_TIMEOUT_S)
        return queue.declaration_result.message_count or 0

    async def purge_refused(self) -> None:
        """Drop all that is kept among the refused."""
        queue = await self.channel.get_queue(REFUSED_QUEUE, ensure=False)
        await queue.purge(timeout=_TIMEOUT_S)

    async def take_refused(self, mark: str) -> AbstractIncomingMessage | None:
        """Take a message from among the refused, if it is there."""
        queue = await self.channel.get_queue(REFUSED_QUEUE, ensure=False)
        others, found = [], None
        while found is None and (each := await queue.get(fail=False, timeout=_TIMEOUT_S)):
            if mark in {each.message_id, each.correlation_id}:
                found = each
                await each.ack()
            else:
                others.append(each)
        for each in others:
            await each.nack(requeue=True)
        return found


class _Written:
    """Properties as the broker gets them, whatever the driver would make of them."""

    def __init__(self, written: bytes) -> None:
        self._written = written
        # The driver gives one to a message that has none, and goes by it.
        self.message_id = uuid4().hex

    def marshal(self) -> bytes:
        return self._written


@asynccontextmanager
async def upstream_of(amqp_url: str) -> AsyncIterator[Upstream]:
    """Have an upstream app for a while."""
    async with await aio_pika.connect(amqp_url, timeout=_TIMEOUT_S) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        queue = await channel.declare_queue(exclusive=True, timeout=_TIMEOUT_S)
        upstream = Upstream(channel, queue.name)
        await queue.consume(upstream.hear, no_ack=True, timeout=_TIMEOUT_S)
        yield upstream


def kept_problem(message: AbstractIncomingMessage) -> Document:
    """The problem document that a refused message is kept with."""
    problem = message.headers["problem"]
    assert isinstance(problem, str)
    document: Document = json.loads(problem)
    check_problem_document(document)
    return document


def refusal(answer: Answer, slug: str) -> Document:
    """The document of a refusal of this type."""
    document = answer.document
    assert document["type"] == f"/problems/{slug}", answer
    assert answer.status == document["status"]
    assert answer.content_type == PROBLEM_MEDIA_TYPE
    return document


def accepted(answer: Answer) -> Document:
    """The document of a 201."""
    assert answer.status == 201, answer
    assert answer.content_type == "application/json"
    return answer.document
