"""The rules for idempotency keys, by HTTP and by AMQP."""

import re

from freehold.contracts.errors import IdempotencyKeyInvalid, IdempotencyKeyMissing

_CHARACTERS_MAX = 255
_KEY = re.compile(rf"[\x20-\x7e]{{1,{_CHARACTERS_MAX}}}", re.ASCII)


def usable_key(given: str | None, where: str) -> str:
    """Take a request's idempotency key; an error names `where` it is expected.

    Raises:
        IdempotencyKeyMissing, IdempotencyKeyInvalid: It cannot be used.
    """
    key = (given or "").strip()
    if not key:
        raise IdempotencyKeyMissing(f"send {where}: a new one for each new thing to do")
    if not _KEY.fullmatch(key):
        had = f", and had {len(key)}" if len(key) > _CHARACTERS_MAX else " only"
        raise IdempotencyKeyInvalid(
            f"{where} must have 1 to {_CHARACTERS_MAX} printable ASCII characters{had}"
        )
    return key
