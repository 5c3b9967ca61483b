"""Pages of the operator's lists: a limit, and an opaque cursor that says after what to go on."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from fastapi import Request

from freehold.service.cursors import Cursors, cursor_refused
from freehold.service.parameters import PageQuery, read_query

Entry = TypeVar("Entry")
AnyPageQuery = TypeVar("AnyPageQuery", bound=PageQuery)


@dataclass(frozen=True, slots=True)
class Page(Generic[AnyPageQuery]):
    """Which part of a list is asked for."""

    query: AnyPageQuery
    after: str | None
    cursors: Cursors

    @property
    def rows_max(self) -> int:
        """How many rows to read: one more than asked for tells whether there are more."""
        return self.query.limit + 1

    def cut(
        self, rows: Sequence[Entry], name: Callable[[Entry], str]
    ) -> tuple[Sequence[Entry], str | None]:
        """Give the page's rows, and the cursor of those that follow if there are any."""
        if len(rows) <= self.query.limit:
            return rows, None
        return rows[: self.query.limit], self.cursors.write(name(rows[self.query.limit - 1]))


def read_page(request: Request, names: re.Pattern[str], *of_list: str) -> Page[PageQuery]:
    """Read which page of a list a request asks for.

    Args:
        request: The request.
        names: What the names of the list's entries look like.
        of_list: The list's own name, and whose it is.

    Raises:
        Problem: validation-failed, where a parameter breaks a rule or the cursor is another list's.
    """
    return read_filtered_page(PageQuery, request, names, *of_list)


def read_filtered_page(
    model: type[AnyPageQuery], request: Request, names: re.Pattern[str], *of_list: str
) -> Page[AnyPageQuery]:
    """Read which page of a list with filters a request asks for.

    A cursor is good for the list with the same filters only.

    Raises:
        Problem: as `read_page`.
    """
    query = read_query(model, request)
    filters = query.model_dump_json(exclude={"limit", "cursor"}, exclude_none=True)
    cursors = Cursors(*of_list, *([] if filters == "{}" else [filters]))
    after = None if query.cursor is None else _after(cursors.read(query.cursor), names)
    return Page(query, after, cursors)


def _after(place: list[str], names: re.Pattern[str]) -> str:
    match place:
        case [name] if names.fullmatch(name):
            return name
    raise cursor_refused()
