"""The envelopes of AMQP messages: reading them, and writing replies and copies.

Reading never fails, whatever a publisher put there. Nothing is written that the broker would
refuse: a refused message breaks the link.
"""

import struct
from datetime import UTC, datetime
from typing import Any

import aio_pika
import msgspec
import orjson

from freehold.contracts.errors import DomainError, ReplyNotAllowed
from freehold.contracts.problems import PROBLEM_MEDIA_TYPE
from freehold.http.codings import decoded
from freehold.http.direct import Reply
from freehold.http.media_types import JSON, require_json
from freehold.http.problems import Problem
from freehold.messaging.broker import Delivery, copy_of
from freehold.messaging.topology import replies_queue

PROBLEM_HEADER = "problem"

_AUTHORIZATION = "authorization"
_FAULTS = "x-freehold-faults"
_USER = "x-freehold-user"
_REFUSED_AT = "x-freehold-refused-at"
_STATUS = "status"
# RabbitMQ appends a secret to each: only the queue's owner knows the name.
_DIRECT = "amq.rabbitmq.reply-to."
_SECRET_NAMES = (_DIRECT, "amq.gen-")
# Set by the broker, or instructions to it (CC and BCC name more queues).
_NOT_COPIED = (
    "x-death",
    "x-first-death",
    "x-last-death",
    "x-delivery-",
    "x-acquired-",
    "x-freehold-",
)
_ORDERS = frozenset({"cc", "bcc"})
# All properties must fit into one frame, which has 128 KiB by default.
_PROPERTIES_BYTES_MAX = 65_536
_PROBLEM_BYTES_MAX = 8_192
_DETAIL_CHARACTERS_MAX = 500
# Half of RabbitMQ 4's limit for a message.
_REPLY_BYTES_MAX = 8 * 2**20


def authorization(delivery: Delivery) -> str | None:
    """Take a message's credential. Several count as none."""
    values = [value for name, value in delivery.headers.items() if _is_credential(name)]
    value = values[0] if len(values) == 1 else None
    if isinstance(value, bytes | bytearray):
        return value.decode("ascii", "replace")
    return value if isinstance(value, str) else None


def content(delivery: Delivery, *, bytes_max: int) -> bytes:
    """Take a message's body, by the same rules as a request's.

    Raises:
        UnsupportedMediaType, MalformedCoding, BodyTooLarge: It breaks one.
    """
    require_json([delivery.content_type] if delivery.content_type else [])
    coding = delivery.content_encoding or ""
    # Some publishers, such as Celery, name the charset there.
    coding = "" if coding.strip().lower() == "utf-8" else coding
    return decoded(delivery.body, coding, bytes_max=bytes_max)


class _MaybeBatch(msgspec.Struct):
    """An object, read for one member and no further."""

    events: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_MAYBE_BATCH = msgspec.json.Decoder(_MaybeBatch)


def is_batch(body: bytes) -> bool:
    """Whether a body is a batch: an object with the member `events`."""
    # Keeps nothing of the body, as it may be no batch that is taken.
    try:
        return _MAYBE_BATCH.decode(body).events is not msgspec.UNSET
    except (msgspec.DecodeError, RecursionError):
        return False


def deliveries(delivery: Delivery) -> int:
    """Count earlier deliveries of a message, as its quorum queue does."""
    return _count(delivery, "x-delivery-count")


def faults(delivery: Delivery) -> int:
    """Count unexpected failures of a message."""
    return _count(delivery, _FAULTS) if _is_own_copy(delivery) else 0


def reply_address(delivery: Delivery) -> str | None:
    """Name the queue for the reply to a message; None if no reply is wanted.

    Ingest may write into every queue of its virtual host, and a publisher may not. So replies only
    go to direct reply-to, to a queue that the broker named, or to the one queue of the publisher's
    user.

    Raises:
        ReplyNotAllowed: It is another queue.
    """
    name, user = delivery.reply_to, _user(delivery)
    if not name or name.startswith(_SECRET_NAMES) or (user and name == replies_queue(user)):
        return name or None
    raise ReplyNotAllowed(
        "reply_to may be amq.rabbitmq.reply-to, a queue that the broker named (amq.gen-…), or "
        f"{replies_queue('USER')} where the property user_id is USER"
    )


def is_direct(address: str) -> bool:
    """Say whether an address is a direct reply-to, which only the broker can read."""
    return address.startswith(_DIRECT)


def reply_message(delivery: Delivery, outcome: Reply | DomainError) -> aio_pika.Message:
    """Write the reply: the answer that HTTP would give."""
    if isinstance(outcome, DomainError):
        status, headers, _ = Problem.of(outcome)
        media_type, body = PROBLEM_MEDIA_TYPE, _short(outcome, _REPLY_BYTES_MAX)
    else:
        status, headers = outcome.status, outcome.headers
        media_type, body = JSON, _sendable(outcome.body)
    return aio_pika.Message(
        body,
        content_type=media_type,
        correlation_id=delivery.correlation_id,
        headers={_STATUS: status, **headers},
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )


def refused_copy(delivery: Delivery, error: DomainError) -> aio_pika.Message:
    """Copy a refused message, with the problem and without the credential."""
    headers = {
        PROBLEM_HEADER: _short(error, _PROBLEM_BYTES_MAX).decode(),
        _REFUSED_AT: datetime.now(UTC).isoformat(),
    }
    return _copy(delivery, headers)


def waiting_copy(delivery: Delivery, faults_so_far: int) -> aio_pika.Message:
    """Copy a message to be tried again later."""
    kept: dict[str, Any] = {_FAULTS: faults_so_far} if faults_so_far else {}
    credential = authorization(delivery)
    if credential is not None:
        kept[_AUTHORIZATION] = credential
    return _copy(delivery, kept)


def _copy(delivery: Delivery, added: dict[str, Any]) -> aio_pika.Message:
    """Copy a message with its own headers, unless they are too large, and with added ones."""
    user = _user(delivery)
    if user is not None:
        # The broker accepts the property itself from that user only.
        added[_USER] = user
    own = {
        name: _writable(value)
        for name, value in delivery.headers.items()
        if not _is_credential(name)
        and name.lower() not in _ORDERS
        and not name.lower().startswith(_NOT_COPIED)
    }
    copy = copy_of(delivery, {**own, **added})
    try:
        fits = len(copy.properties.marshal()) <= _PROPERTIES_BYTES_MAX
    except (TypeError, ValueError, OverflowError, struct.error):
        fits = False
    return copy if fits else copy_of(delivery, added)


def _user(delivery: Delivery) -> str | None:
    """Name the broker's user who published a message, if the message does.

    RabbitMQ refuses a message whose property user_id is not the user of its connection
    (https://www.rabbitmq.com/docs/validated-user-id).
    """
    user: Any = delivery.user_id
    if user is None and _is_own_copy(delivery):
        user = delivery.headers.get(_USER)
    return user if isinstance(user, str) else None


def _is_own_copy(delivery: Delivery) -> bool:
    """Say whether a message came by the default exchange, to which no publisher may write."""
    return not delivery.exchange


def _is_credential(name: str) -> bool:
    return name.lower() == _AUTHORIZATION


def _count(delivery: Delivery, name: str) -> int:
    value = delivery.headers.get(name)
    return value if isinstance(value, int) else 0


def _writable(value: Any) -> Any:
    """Make a value writable that the driver has read: it reads text that is not UTF-8 as bytes."""
    if isinstance(value, bytes):
        return bytearray(value)
    if isinstance(value, list):
        return [_writable(each) for each in value]
    if isinstance(value, dict):
        return {name: _writable(each) for name, each in value.items()}
    return value


def _short(error: DomainError, bytes_max: int) -> bytes:
    """Write an error within a size, with fewer of its field errors if necessary."""
    body, errors = Problem.of(error).body, error.errors
    while len(body) > bytes_max and len(errors) > 1:
        errors = errors[: len(errors) // 2]
        body = Problem.of(type(error)(error.detail, errors=errors)).body
    if len(body) <= bytes_max:
        return body
    return Problem.of(type(error)(error.detail[:_DETAIL_CHARACTERS_MAX])).body


def _sendable(body: bytes) -> bytes:
    """Leave the events out of a reply that is too large for the broker."""
    if len(body) <= _REPLY_BYTES_MAX:
        return body
    document = orjson.loads(body)
    document.pop("events", None)
    return orjson.dumps(document)
