"""Pages of the operator's lists: a limit, and an opaque cursor that says after what to go on."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request

from freehold.service.cursors import Cursors, cursor_refused
from freehold.service.parameters import PageQuery, read_query

Entry = TypeVar("Entry")


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for."""

    limit: int
    after: str | None
    cursors: Cursors

    @property
    def rows_max(self) -> int:
        """How many rows to read: one more than asked for tells whether there are more."""
        return self.limit + 1

    def cut(
        self, rows: Sequence[Entry], name: Callable[[Entry], str]
    ) -> tuple[Sequence[Entry], str | None]:
        """Give the page's rows, and the cursor of those that follow if there are any."""
        if len(rows) <= self.limit:
            return rows, None
        return rows[: self.limit], self.cursors.write(name(rows[self.limit - 1]))


def read_page(request: Request, names: re.Pattern[str], *of_list: str) -> Page:
    """Read which page of a list a request asks for.

    Args:
        request: The request.
        names: What the names of the list's entries look like.
        of_list: The list's own name, and whose it is.

    Raises:
        Problem: validation-failed, where a parameter breaks a rule or the cursor is another list's.
    """
    query = read_query(PageQuery, request)
    cursors = Cursors(*of_list)
    after = None if query.cursor is None else _after(cursors.read(query.cursor), names)
    return Page(query.limit, after, cursors)


def _after(place: list[str], names: re.Pattern[str]) -> str:
    match place:
        case [name] if names.fullmatch(name):
            return name
    raise cursor_refused()
