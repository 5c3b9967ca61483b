"""How frames from RabbitMQ are decoded, so that no message can break the link that it comes on.

A broker takes any bytes as a property (AMQP 0-9-1, 4.2.5.3: a short string has no encoding). pamqp,
the driver's decoder, raises on bytes that are not UTF-8, on times that Python does not have and on
tables with such a name. The link then closes, the broker delivers the message on the next link, and
all other messages wait meanwhile. Here what cannot be decoded is replaced, so that such a message
can be refused like any other.
"""

import struct
from datetime import datetime

from pamqp import decode
from pamqp.common import FieldTable


def take_any_bytes() -> None:
    """Have pamqp replace what it cannot decode. Safe to call again."""
    decode.METHODS |= {"shortstr": _short_text, "timestamp": _time, "table": _table}


def _short_text(value: bytes) -> tuple[int, str]:
    size = value[0]
    return 1 + size, value[1 : 1 + size].decode(errors="replace")


def _time(value: bytes) -> tuple[int, datetime | None]:
    try:
        return decode.timestamp(value)
    except (ValueError, OverflowError, OSError):
        return 8, None


def _table(value: bytes) -> tuple[int, FieldTable]:
    try:
        return decode.field_table(value)
    except (ValueError, LookupError, ArithmeticError, OSError, RecursionError):
        # Its size in bytes stands before it. A message without headers has no credential.
        (size,) = struct.unpack_from(">I", value)
        return 4 + size, {}
