"""Cursors: where a page ended, opaque to clients and good for one list only.

A cursor is bound to its tenant, epoch, list and filters by a checksum. That is no secret and needs
none: a forged cursor can only name a place in what its bearer may read anyway. It is there so that
a cursor taken elsewhere, or from before a restore, is refused and not silently misread.
"""

import base64
import re
from contextlib import suppress
from hashlib import sha256
from uuid import UUID

import orjson

from freehold.contracts.fields import ACCOUNT_ID_PATTERN
from freehold.contracts.problems import Problem
from freehold.service.bodies import field_errors
from freehold.tenancy.homes import Home

_LENGTH_MAX = 1024
_ACCOUNT_ID = re.compile(ACCOUNT_ID_PATTERN)
_CURRENCY = re.compile("[A-Z]{3}")


class CursorScope:
    """One tenant's one list with one choice of filters."""

    def __init__(self, home: Home, name: str, *filters: str | int | None) -> None:
        """Name what cursors are to be good for."""
        # Filters may be wider than the 64 bits that orjson writes.
        self._bound_to = [home.tenant_id, home.epoch, name, *map(repr, filters)]

    def write(self, *place: str) -> str:
        """Make the cursor of a place."""
        checksum = sha256(orjson.dumps([self._bound_to, place])).hexdigest()[:16]
        text = base64.urlsafe_b64encode(orjson.dumps([*place, checksum]))
        return text.decode().rstrip("=")

    def read_balance(self, cursor: str) -> tuple[str, str]:
        """Give the account and the currency that a page of balances ended with.

        Raises:
            Problem: validation-failed, where the cursor is not exactly one that this list wrote.
        """
        match self._read(cursor):
            case [account_id, currency] if _ACCOUNT_ID.fullmatch(
                account_id
            ) and _CURRENCY.fullmatch(currency):
                return account_id, currency
        raise _refused()

    def read_event(self, cursor: str) -> UUID:
        """Give the id of the event that a page of events ended with.

        Raises:
            Problem: validation-failed, where the cursor is not exactly one that this list wrote.
        """
        match self._read(cursor):
            case [event_id]:
                with suppress(ValueError):
                    return UUID(event_id)
        raise _refused()

    def _read(self, cursor: str) -> list[str]:
        place = _decoded(cursor)
        # Writing it again compares everything at once, down to the spelling.
        if self.write(*place) != cursor:
            raise _refused()
        return place


def _decoded(cursor: str) -> list[str]:
    if len(cursor) > _LENGTH_MAX:
        raise _refused()
    try:
        # Characters that are not ASCII are a ValueError, and so are bytes that are not JSON.
        decoded = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        raise _refused() from None
    if not isinstance(decoded, list) or not all(isinstance(part, str) for part in decoded):
        raise _refused()
    return decoded[:-1]


def _refused() -> Problem:
    return field_errors([("/cursor", "not a cursor of this list with these filters")])
