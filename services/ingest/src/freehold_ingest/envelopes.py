"""What is around a body that comes by AMQP: reading it, and writing answers and copies.

Whatever a publisher may have put there is read without failing, and nothing is written that the
broker would refuse: a refused message breaks the link.
"""

import struct
from datetime import UTC, datetime
from typing import Any

import aio_pika
import orjson

from freehold.contracts.problems import PROBLEM_MEDIA_TYPE, Problem
from freehold.messaging.broker import Delivery, copy_of
from freehold.service.application import JSON
from freehold.service.shapes import has_many_values
from freehold_ingest.answers import Reply

PROBLEM_HEADER = "problem"

_AUTHORIZATION = "authorization"
_FAULTS = "x-freehold-faults"
_REFUSED_AT = "x-freehold-refused-at"
_STATUS = "status"
# Set by the broker itself, or orders to it (CC and BCC name more queues): not part of the message.
_NOT_COPIED = (
    "x-death",
    "x-first-death",
    "x-last-death",
    "x-delivery-",
    "x-acquired-",
    "x-freehold-",
)
_ORDERS = frozenset({"cc", "bcc"})
# All properties together must fit into one frame, and frames are 128 KiB unless a broker is set up
# otherwise.
_PROPERTIES_BYTES_MAX = 65_536
_PROBLEM_BYTES_MAX = 8_192
_DETAIL_CHARACTERS_MAX = 500
# Half of what RabbitMQ 4 takes as one message.
_REPLY_BYTES_MAX = 8 * 2**20


def authorization(delivery: Delivery) -> str | None:
    """Take a message's credential; several of them are as good as none."""
    values = [value for name, value in delivery.headers.items() if _is_credential(name)]
    value = values[0] if len(values) == 1 else None
    if isinstance(value, bytes | bytearray):
        return value.decode("ascii", "replace")
    return value if isinstance(value, str) else None


def is_batch(body: bytes) -> bool:
    """Say whether a body is a batch: an object with the member `events`."""
    if b'"events"' not in body:
        return False
    if has_many_values(body):
        # More than any event has. Not read here, as it may be no batch that anyone would take.
        return True
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(document, dict) and "events" in document


def deliveries(delivery: Delivery) -> int:
    """Say how often a message has been delivered before, as its quorum queue counts."""
    return _count(delivery, "x-delivery-count")


def faults(delivery: Delivery) -> int:
    """Say how often a message has failed in a way that nobody foresaw."""
    return _count(delivery, _FAULTS)


def reply_message(delivery: Delivery, outcome: Reply | Problem) -> aio_pika.Message:
    """Write the answer that HTTP would give."""
    if isinstance(outcome, Problem):
        status, media_type, body = outcome.kind.status, PROBLEM_MEDIA_TYPE, outcome.body()
    else:
        status, media_type, body = outcome.status, JSON, _sendable(outcome.body)
    return aio_pika.Message(
        body,
        content_type=media_type,
        correlation_id=delivery.correlation_id,
        headers={_STATUS: status, **outcome.headers},
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )


def refused_copy(delivery: Delivery, problem: Problem) -> aio_pika.Message:
    """Copy a message that was refused, with the problem and without the credential."""
    told = {
        PROBLEM_HEADER: _short(problem).decode(),
        _REFUSED_AT: datetime.now(UTC).isoformat(),
    }
    return _copy(delivery, told)


def waiting_copy(delivery: Delivery, faults_so_far: int) -> aio_pika.Message:
    """Copy a message so that it can be dealt with later."""
    kept: dict[str, Any] = {_FAULTS: faults_so_far} if faults_so_far else {}
    credential = authorization(delivery)
    if credential is not None:
        kept[_AUTHORIZATION] = credential
    return _copy(delivery, kept)


def _copy(delivery: Delivery, told: dict[str, Any]) -> aio_pika.Message:
    """Copy a message with its own headers as far as they can be written, and with what is told."""
    own = {
        name: _writable(value)
        for name, value in delivery.headers.items()
        if not _is_credential(name)
        and name.lower() not in _ORDERS
        and not name.lower().startswith(_NOT_COPIED)
    }
    copy = copy_of(delivery, {**own, **told})
    try:
        fits = len(copy.properties.marshal()) <= _PROPERTIES_BYTES_MAX
    except (TypeError, ValueError, OverflowError, struct.error):
        fits = False
    return copy if fits else copy_of(delivery, told)


def _is_credential(name: str) -> bool:
    return name.lower() == _AUTHORIZATION


def _count(delivery: Delivery, name: str) -> int:
    value = delivery.headers.get(name)
    return value if isinstance(value, int) else 0


def _writable(value: Any) -> Any:
    """Have the driver write again what it has read: it reads text that is no UTF-8 as bytes."""
    if isinstance(value, bytes):
        return bytearray(value)
    if isinstance(value, list):
        return [_writable(each) for each in value]
    if isinstance(value, dict):
        return {name: _writable(each) for name, each in value.items()}
    return value


def _short(problem: Problem) -> bytes:
    """Write a problem so that it fits into a header, with fewer of its errors if need be."""
    body = problem.body()
    errors = problem.members.get("errors", [])
    while len(body) > _PROBLEM_BYTES_MAX and len(errors) > 1:
        errors = errors[: len(errors) // 2]
        body = Problem(problem.kind, problem.detail, errors=errors).body()
    if len(body) <= _PROBLEM_BYTES_MAX:
        return body
    return Problem(problem.kind, problem.detail[:_DETAIL_CHARACTERS_MAX]).body()


def _sendable(body: bytes) -> bytes:
    """Leave the events out of an answer that is too large for the broker."""
    if len(body) <= _REPLY_BYTES_MAX:
        return body
    document = orjson.loads(body)
    document.pop("events", None)
    return orjson.dumps(document)
