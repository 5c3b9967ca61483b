"""The rules for idempotency keys, by HTTP and by AMQP."""

import re

from freehold.contracts.errors import IdempotencyKeyInvalid, IdempotencyKeyMissing

_KEY = re.compile(r"[\x20-\x7e]{1,255}", re.ASCII)


def usable_key(given: str | None, where: str) -> str:
    """Take a request's idempotency key; an error names `where` it is expected.

    Raises:
        IdempotencyKeyMissing, IdempotencyKeyInvalid: It cannot be used.
    """
    key = (given or "").strip()
    if not key:
        raise IdempotencyKeyMissing(f"send {where}")
    if not _KEY.fullmatch(key):
        raise IdempotencyKeyInvalid("a key has 1 to 255 printable ASCII characters")
    return key
