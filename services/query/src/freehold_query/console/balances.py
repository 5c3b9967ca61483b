"""The page of all balances: live, or as they were at a point in time."""

from typing import Any, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from freehold.console.pages import is_fragment
from freehold.contracts.errors import ValidationFailed
from freehold.http.parameters import read_query
from freehold.ledger import client as ledger
from freehold.ledger import points_in_time
from freehold.ledger.client import BalanceFilters, Connection, Record
from freehold.ledger.points_in_time import NOW
from freehold.security.api_keys import Scope
from freehold_query.console.balance_rows import balance_cursors, balance_row
from freehold_query.console.console import Console, page_router
from freehold_query.console.parameters import BranchParameters, PageParameters, field_time
from freehold_query.console.summary import read_summary, summary_address

PATH = "/console"
_ROWS_MAX = 100
"""A page has no more, so that a browser has little to lay out however many accounts there are."""

Position = tuple[str, str]


class BalanceParameters(BranchParameters):
    """The parameters of the page of balances."""

    cursor: str | None = None


class _Page(NamedTuple):
    rows: list[Record]
    following: Position | None
    """The balance after which there is another page, if there is."""


def balance_pages(console: Console) -> APIRouter:
    """Make the page of balances."""
    router = page_router()

    @router.get("")
    async def balances(request: Request) -> Response:
        reader = await console.reader(request, Scope.READ)
        query = read_query(BalanceParameters, request)
        cursors = balance_cursors(reader, query)
        try:
            after = None if query.cursor is None else cursors.read_balance(query.cursor)
        except ValidationFailed:
            # The ledger was restored meanwhile: its list is another one now.
            return RedirectResponse(_address(query, cursor=None), status_code=303)
        async with console.reads.connection(reader.home, "console_balances") as connection:
            page = await _page(connection, query, after)
            summary: dict[str, Any] = (
                await read_summary(connection, query.account_prefix, NOW)
                if query.moment == NOW
                # It may take longer than the list, which is not to wait for it.
                else {"summary_address": summary_address(query.account_prefix, query.moment)}
            )
        rows = list(map(balance_row, page.rows))
        following = None if page.following is None else cursors.write(*page.following)
        return console.answer(
            request,
            "_balances.html" if is_fragment(request) else "balances.html",
            # So that the address names what is shown, and not each key that was pressed.
            headers={"HX-Replace-Url": _address(query)},
            query=query,
            address=_address(query),
            currencies=sorted({row["currency"] for row in summary.get("totals", rows)}),
            is_live=query.moment == NOW,
            as_of=field_time(query.as_of),
            known_at=field_time(query.known_at),
            rows=rows,
            has_holds=any(row["held_minor"] for row in rows),
            stream=_address(query, "/stream", through=following),
            preceding=None if query.cursor is None else _address(query, "/preceding"),
            following=None if following is None else _address(query, cursor=following),
            present=_address(query, cursor=None, as_of=None, known_at=None),
            moment=urlencode(_given(query, "as_of", "known_at")),
            **summary,
        )

    @router.get("/preceding")
    async def preceding(request: Request) -> Response:
        reader = await console.reader(request, Scope.READ)
        query = read_query(BalanceParameters, request)
        cursors = balance_cursors(reader, query)
        before = None
        if query.cursor is not None:
            # The balance at the cursor is the last one of the page that is looked for.
            async with console.reads.connection(reader.home, "balance_before") as connection:
                before = await ledger.balance_before(
                    connection, _filters(query), cursors.read_balance(query.cursor), steps=_ROWS_MAX
                )
        cursor = None if before is None else cursors.write(*before)
        return RedirectResponse(_address(query, cursor=cursor), status_code=303)

    return router


async def _page(connection: Connection, query: BranchParameters, after: Position | None) -> _Page:
    """Read a page of the list. One at a point in time may be short with more to follow."""
    filters, stopped_at = _filters(query), None
    if query.moment == NOW:
        rows = await ledger.list_balances(connection, filters, after=after, rows_max=_ROWS_MAX + 1)
    else:
        rows, stopped_at = await points_in_time.list_balances_at(
            connection, query.moment, filters, after=after, rows_max=_ROWS_MAX + 1
        )
    last = rows[_ROWS_MAX - 1] if len(rows) > _ROWS_MAX else stopped_at
    return _Page(rows[:_ROWS_MAX], None if last is None else (last["account_id"], last["currency"]))


def _filters(query: BranchParameters) -> BalanceFilters:
    return BalanceFilters(query.account_prefix, query.currency)


def _address(query: PageParameters, below: str = "", **changes: str | None) -> str:
    """Write the address of a page with other parameters; None leaves one out."""
    return query.address(f"{PATH}{below}", **changes)


def _given(query: PageParameters, *names: str) -> dict[str, str | None]:
    return {name: value for name, value in query.given().items() if not names or name in names}
