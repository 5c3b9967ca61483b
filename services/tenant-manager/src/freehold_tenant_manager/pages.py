"""Pages of lists: a limit, and an opaque cursor that says after what to go on."""

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Query

from freehold.service.bodies import field_errors

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for."""

    limit: int
    after: str | None

    @property
    def rows_max(self) -> int:
        """How many rows to read: one more than asked for tells whether there are more."""
        return self.limit + 1

    def cut(self, rows: list[Entry]) -> tuple[list[Entry], Entry | None]:
        """Give the page's rows, and the last of them if others follow it."""
        if len(rows) <= self.limit:
            return rows, None
        return rows[: self.limit], rows[self.limit - 1]


async def page(
    limit: Annotated[int, Query(ge=1, le=1000)] = 100, cursor: str | None = None
) -> Page:
    """Read a request's `limit` and `cursor`.

    Raises:
        Problem: validation-failed, where the cursor is none of ours.
    """
    return Page(limit, None if cursor is None else _after(cursor))


def cursor_after(name: str) -> str:
    """Make the cursor of what follows the entry of this name."""
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def _after(cursor: str) -> str:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        name = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        name = ""
    # Ids of tenants and of keys are made of these.
    if not name.replace("-", "").isalnum():
        raise field_errors([("/cursor", "not a cursor that this list gave out")])
    return name
