"""Idempotency keys: the rule for what can be one, whichever way a request comes in."""

import re

from freehold.contracts.problems import IDEMPOTENCY_KEY_INVALID, IDEMPOTENCY_KEY_MISSING, Problem

_KEY = re.compile(r"[\x20-\x7e]{1,255}", re.ASCII)


def usable_key(given: str | None, where: str) -> str:
    """Take a request's idempotency key.

    Args:
        given: What was sent, if anything.
        where: What the key is sent as, for whoever forgot it.

    Raises:
        Problem: idempotency-key-missing, idempotency-key-invalid.
    """
    key = (given or "").strip()
    if not key:
        raise Problem(IDEMPOTENCY_KEY_MISSING, f"send {where}")
    if not _KEY.fullmatch(key):
        raise Problem(IDEMPOTENCY_KEY_INVALID, "a key has 1 to 255 printable ASCII characters")
    return key
