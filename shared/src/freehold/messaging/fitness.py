"""Whether Freehold can use a broker, and if not, why: in words for its operator."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import aio_pika
from aio_pika.abc import AbstractConnection
from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ChannelPreconditionFailed,
    ConnectionInternalError,
    ConnectionNotAllowed,
    InvalidFrameError,
    ProbableAuthenticationError,
)

from freehold.messaging.topology import LEDGER_EXCHANGE, declare, declare_archiver, declare_inbound

RABBITMQ_LOWEST = (3, 10)

# The parts of RabbitMQ's messages that are shown to others. It names the missing right since 3.11.
_REFUSED = re.compile(r"(?:(?:configure|write|read) )?access to (?:\w+ '[^']*'|default exchange)")
_CLAIMED = re.compile(r"inequivalent arg '([^']*)' for (\w+ '[^']*')")
_UNBOUND_KEY = "freehold.examined"
_QUEUE = re.compile(r"queue '([^']*)'")


BLOCKED = "it takes no messages now: it is short of memory or of disk space"


class UnfitBrokerError(Exception):
    """The broker answers, and Freehold cannot use it. The message says why and has no secret."""


def refuse_old(connection: AbstractConnection) -> None:
    """Refuse a broker that is too old.

    Raises:
        UnfitBrokerError: It is a RabbitMQ before 3.10.
    """
    transport = connection.transport
    properties = {} if transport is None else transport.connection.server_properties
    product, version = _text(properties.get("product")), _text(properties.get("version"))
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if product == "RabbitMQ" and numbers and numbers < RABBITMQ_LOWEST:
        raise UnfitBrokerError(f"it is RabbitMQ {version}; 3.10 or later is needed")


def is_blocked(connection: AbstractConnection) -> bool:
    """Say whether the broker has blocked a connection that publishes.

    See https://www.rabbitmq.com/docs/connection-blocked.
    """
    if connection.transport is None:
        return False
    asking = connection.transport.ready().__await__()
    try:
        # It waits only while the connection is blocked.
        next(asking)
    except StopIteration:
        return False
    finally:
        asking.close()
    return True


@contextmanager
def unfitness_named() -> Iterator[None]:
    """Turn a broker's refusals into UnfitBrokerError; wrap around linking and declaring.

    Raises:
        UnfitBrokerError: It refuses something that it will refuse again.
    """
    try:
        yield
    except (AuthenticationError, ProbableAuthenticationError) as error:
        raise UnfitBrokerError(
            "it refuses the user or the password in FREEHOLD_AMQP_URL"
        ) from error
    except (ConnectionNotAllowed, InvalidFrameError) as error:
        # How the driver reports a broker that closes the connection at once: without a reason.
        if isinstance(error, InvalidFrameError) and "OpenOk" not in str(error):
            raise
        raise UnfitBrokerError(
            "it has no such vhost as FREEHOLD_AMQP_URL names, or does not let this user in there"
        ) from error
    except ChannelAccessRefused as error:
        what = _REFUSED.search(str(error))
        raise UnfitBrokerError(
            f"it refuses its user {what.group() if what else 'what services do'}; they need to "
            "configure, write and read what begins with freehold., and to write to amq.default"
        ) from error
    except ChannelPreconditionFailed as error:
        what = _CLAIMED.search(str(error))
        named = f"{what.group(2)} with another {what.group(1)}" if what else "a queue of that name"
        raise UnfitBrokerError(
            f"it has {named}; it is Freehold's, so remove it when it is empty"
        ) from error
    except ConnectionInternalError as error:
        if "noproc" not in str(error):
            raise
        queue = _QUEUE.search(str(error))
        raise UnfitBrokerError(
            f"its queue {queue.group(1) if queue else ''} is dead: were its data moved or copied?"
        ) from error


async def examine(url: str, *, timeout_s: float) -> None:
    """Check that a broker can be used: connect, declare everything that Freehold has, publish.

    Args:
        url: The broker.
        timeout_s: Bounds connecting, each declaration, and the confirm.

    Raises:
        UnfitBrokerError: It cannot.
        OSError, AMQPError, TimeoutError: The broker does not answer.
    """
    with unfitness_named():
        connection = await aio_pika.connect(url, timeout=timeout_s)
        try:
            refuse_old(connection)
            channel = await connection.channel(publisher_confirms=True)
            for declaring in (declare, declare_archiver, declare_inbound):
                await declaring(channel, timeout_s)
            for name in (LEDGER_EXCHANGE, ""):
                # No queue is bound to this key.
                exchange = await channel.get_exchange(name, ensure=False)
                message = aio_pika.Message(b"")
                await exchange.publish(message, _UNBOUND_KEY, mandatory=False, timeout=timeout_s)
        except TimeoutError:
            if is_blocked(connection):
                raise UnfitBrokerError(BLOCKED) from None
            raise
        finally:
            with suppress(AMQPError, OSError, TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await connection.close()


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
