"""Pages of the operator's lists, with a limit and an opaque cursor."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

from fastapi import Request

from freehold.http.cursors import Cursors, cursor_refused
from freehold.http.parameters import PageQuery, read_query

Entry = TypeVar("Entry")
AnyPageQuery = TypeVar("AnyPageQuery", bound=PageQuery)
UUID_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Page(Generic[AnyPageQuery]):
    """The part of a list that a request asks for."""

    query: AnyPageQuery
    after: str | None
    cursors: Cursors

    @property
    def after_id(self) -> UUID | None:
        """The last entry of the page before, in a list whose names match UUID_NAME."""
        return None if self.after is None else UUID(self.after)

    @property
    def rows_max(self) -> int:
        """Rows to read: one more than the limit, to see whether another page follows."""
        return self.query.limit + 1

    def cut(
        self, rows: Sequence[Entry], name: Callable[[Entry], str]
    ) -> tuple[Sequence[Entry], str | None]:
        """Give the page's rows, and the cursor of the next page if there is one."""
        if len(rows) <= self.query.limit:
            return rows, None
        return rows[: self.query.limit], self.cursors.write(name(rows[self.query.limit - 1]))


def read_page(request: Request, names: re.Pattern[str], *of_list: str) -> Page[PageQuery]:
    """Read which page of a list a request asks for.

    Args:
        request: The request.
        names: The pattern of the entries' names.
        of_list: The list's name, and its tenant if it has one.

    Raises:
        ValidationFailed: A parameter breaks a rule, or the cursor is another list's.
    """
    return read_filtered_page(PageQuery, request, names, *of_list)


def read_filtered_page(
    model: type[AnyPageQuery], request: Request, names: re.Pattern[str], *of_list: str
) -> Page[AnyPageQuery]:
    """Read which page of a list with filters a request asks for.

    A cursor is valid only with the same filters.

    Raises:
        ValidationFailed: As `read_page`.
    """
    query = read_query(model, request)
    filters = query.model_dump_json(exclude={"limit", "cursor"}, exclude_none=True)
    cursors = Cursors(*of_list, *([] if filters == "{}" else [filters]))
    after = None if query.cursor is None else _after(cursors.read(query.cursor), names)
    return Page(query, after, cursors)


def _after(position: list[str], names: re.Pattern[str]) -> str:
    match position:
        case [name] if names.fullmatch(name):
            return name
    raise cursor_refused()
