"""Cursors: where a page ended, opaque to clients and good for one list only.

A cursor is bound to its list by a checksum. That is no secret and needs none: a forged cursor can
only name a place in what its bearer may read anyway, and whoever reads a place checks its form. The
checksum is there so that a cursor taken elsewhere is refused and not silently misread.
"""

import base64
from hashlib import sha256

import orjson

from freehold.contracts.problems import Problem
from freehold.service.bodies import field_errors

_LENGTH_MAX = 1024


class Cursors:
    """The cursors of one list."""

    def __init__(self, *bound_to: str | int | None) -> None:
        """Say which list: its name, whose it is, how it is filtered."""
        # Numbers may be wider than the 64 bits that orjson writes.
        self._bound_to = [repr(part) for part in bound_to]

    def write(self, *place: str) -> str:
        """Make the cursor of a place."""
        checksum = sha256(orjson.dumps([self._bound_to, place])).hexdigest()[:16]
        text = base64.urlsafe_b64encode(orjson.dumps([*place, checksum]))
        return text.decode().rstrip("=")

    def read(self, cursor: str) -> list[str]:
        """Give the place that a cursor names, of whatever form that is.

        Raises:
            Problem: validation-failed, where the cursor is not exactly one that this list wrote.
        """
        place = _decoded(cursor)
        # Writing it again compares everything at once, down to the spelling.
        if self.write(*place) != cursor:
            raise cursor_refused()
        return place


def cursor_refused() -> Problem:
    """Make the problem of a cursor that is none of the list's."""
    return field_errors([("/cursor", "not a cursor of this list with these filters")])


def _decoded(cursor: str) -> list[str]:
    if len(cursor) > _LENGTH_MAX:
        raise cursor_refused()
    try:
        # Characters that are not ASCII are a ValueError, and so are bytes that are not JSON.
        decoded = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        raise cursor_refused() from None
    if not isinstance(decoded, list) or not all(isinstance(part, str) for part in decoded):
        raise cursor_refused()
    return decoded[:-1]
