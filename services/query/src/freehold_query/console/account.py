"""The page of one account at any point in time: balances, course, statement and holds."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from freehold.console.pages import is_fragment
from freehold.contracts.currency import MINOR_UNIT_EXPONENTS
from freehold.contracts.errors import ValidationFailed
from freehold.http.parameters import read_query
from freehold.ledger.points_in_time import NOW
from freehold.security.api_keys import Scope
from freehold_query.console.account_chart import Course, read_course
from freehold_query.console.account_holds import HOLDS_MAX, read_holds
from freehold_query.console.account_statement import StatementPart, read_lines
from freehold_query.console.account_view import AccountParameters, AccountView, view_account
from freehold_query.console.balance_rows import account_stream, balance_row
from freehold_query.console.console import Console, page_router
from freehold_query.console.parameters import field_time

_FILE_PATH = "/console/downloads/statement"
_FORMS = ("csv", "pdf")
_NOW = {"as_of": None, "known_at": None, "cursor": None}
_ALL = {"from_time": None, "to_time": None, "cursor": None}


def account_pages(console: Console) -> APIRouter:
    """Make the page of an account."""
    router = page_router()

    @router.get("/accounts/{account_id}")
    async def account(request: Request, account_id: str) -> Response:
        reader = await console.reader(request, Scope.READ)
        query = read_query(AccountParameters, request)
        view = await view_account(console.reads, reader, account_id, query)
        try:
            statement = await read_lines(console.reads, view)
        except ValidationFailed:
            # The ledger was restored meanwhile: its statement is another one now.
            return RedirectResponse(_address(view, cursor=None), status_code=303)
        now = datetime.now(UTC)
        async with console.reads.connection(reader.home, "console_account") as connection:
            course = await read_course(connection, view, now)
            # Like what is held, they are known of the present only.
            holds = await read_holds(connection, account_id) if query.moment == NOW else None
        return console.answer(
            request,
            "_account.html" if is_fragment(request) else "account.html",
            headers=_new_address(request, _address(view)),
            **_shown(view, course, statement, now),
            holds=holds,
            holds_max=HOLDS_MAX,
        )

    return router


def _shown(
    view: AccountView, course: Course, statement: StatementPart | None, now: datetime
) -> dict[str, Any]:
    query = view.query
    is_live = query.moment == NOW
    following = statement and statement.next_cursor
    return {
        "account_id": view.account_id,
        "query": query,
        "is_live": is_live,
        "stream": account_stream(view.reader, view.account_id) if is_live else None,
        "rows": list(map(balance_row, view.balances)),
        "currency": view.currency,
        "exponent": MINOR_UNIT_EXPONENTS[view.currency],
        "fields": {
            name: field_time(at)
            for name, at in {
                "as_of": query.as_of,
                "known_at": query.known_at,
                "from": query.from_time,
                "to": query.to_time,
            }.items()
        },
        "narrows": query.model_fields_set & {"from_time", "to_time", "by", "order"},
        "first_time": course.first_time,
        "now": now,
        "chart": course.chart,
        "statement": statement,
        "address": _address(view),
        "currency_addresses": {
            row["currency"]: _address(view, currency=row["currency"], cursor=None)
            for row in view.balances
        },
        "present": _address(view, as_of=None, known_at=None, cursor=None),
        "whole": query.model_copy(update=_ALL).address(_path(view)),
        "first_lines": _address(view, cursor=None) if query.cursor else None,
        "following": following and _address(view, cursor=following),
        "files": statement and {form: _file(view, statement, form) for form in _FORMS},
    }


def _address(view: AccountView, **changes: str | None) -> str:
    return view.query.address(_path(view), **changes)


def _file(view: AccountView, part: StatementPart, form: str) -> str:
    """Give the address of the statement as a file: of the same period and state of the ledger."""
    period = part.statement.period
    times = {"from_time": period.since, "to_time": period.until}
    return view.query.model_copy(update={**times, **_NOW}).address(
        _FILE_PATH,
        account_id=period.account_id,
        currency=period.currency,
        order=view.query.order,
        through_seq=str(part.statement.totals.through_seq),
        format=form,
    )


def _path(view: AccountView) -> str:
    return f"/console/accounts/{quote(view.account_id, safe='')}"


def _new_address(request: Request, address: str) -> dict[str, str]:
    """Have the browser's history name what is shown, once for each time that is looked at."""
    is_shown = request.headers.get("hx-current-url", "").endswith(address)
    return {} if is_shown else {"HX-Push-Url": address}
