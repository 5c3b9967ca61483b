"""Cursors: the position at which a page ended, opaque to clients and valid for one list.

A checksum binds a cursor to its list, so that a cursor of another list is refused. It needs no
secret: a forged cursor can only name a position in what its bearer may read, and the reader of a
position checks its form.
"""

import base64
from hashlib import sha256

import orjson

from freehold.contracts.errors import DomainError
from freehold.http.bodies import field_errors

_LENGTH_MAX = 1024


class Cursors:
    """The cursors of one list."""

    def __init__(self, *bound_to: str | int | None) -> None:
        """Name the list: its kind, its tenant, its filters."""
        # Numbers may have more than the 64 bits that orjson can write.
        self._bound_to = [repr(part) for part in bound_to]

    def write(self, *position: str) -> str:
        """Make the cursor of a position."""
        checksum = sha256(orjson.dumps([self._bound_to, position])).hexdigest()[:16]
        text = base64.urlsafe_b64encode(orjson.dumps([*position, checksum]))
        return text.decode().rstrip("=")

    def read(self, cursor: str) -> list[str]:
        """Read the position in a cursor. Its form is not checked.

        Raises:
            ValidationFailed: This list did not write the cursor.
        """
        position = _decoded(cursor)
        # Compares the checksum and the spelling at once.
        if self.write(*position) != cursor:
            raise cursor_refused()
        return position


def cursor_refused() -> DomainError:
    """Make the error of a cursor that the list did not write."""
    return field_errors(
        [("/cursor", "cursor must be the next_cursor of this list with the same filters")]
    )


def _decoded(cursor: str) -> list[str]:
    if len(cursor) > _LENGTH_MAX:
        raise cursor_refused()
    try:
        # Text that is not ASCII, and bytes that are not JSON, raise ValueError.
        decoded = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except ValueError:
        raise cursor_refused() from None
    if not isinstance(decoded, list) or not all(isinstance(part, str) for part in decoded):
        raise cursor_refused()
    return decoded[:-1]
