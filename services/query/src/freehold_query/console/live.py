"""The stream of a page: the balances that it shows, as they change (Server-Sent Events)."""

from functools import partial

from fastapi import APIRouter, Request

from freehold.http.bodies import header_values
from freehold.http.parameters import read_query
from freehold.security.api_keys import Scope
from freehold_query.console.balance_rows import balance_cursors
from freehold_query.console.balances import BalanceParameters
from freehold_query.console.console import page_router
from freehold_query.console.visitors import Visitors
from freehold_query.stream.admission import Admission
from freehold_query.stream.positions import BEGINNING, Span
from freehold_query.stream.routes import EventStream


class _LiveParameters(BalanceParameters):
    through: str | None = None
    """The cursor of the next page, and so of the last balance of this one."""


def live_routes(visitors: Visitors, admission: Admission) -> APIRouter:
    """Make the route of what a page shows."""
    router = page_router()

    @router.get("/stream")
    async def stream(request: Request) -> EventStream:
        authenticate = partial(visitors.reader, request, Scope.READ)
        reader = await authenticate()
        # That a page stays open keeps no session alive.
        request.state.renew_session = None
        query = read_query(_LiveParameters, request)
        cursors = balance_cursors(reader, query)
        span = Span(
            BEGINNING if query.cursor is None else cursors.read_balance(query.cursor),
            None if query.through is None else cursors.read_balance(query.through),
        )
        headers = header_values(request, b"last-event-id")
        opened = await admission.open(
            reader,
            authenticate,
            account_prefix=query.account_prefix,
            span=span,
            # What has changed since the page was rendered.
            snapshot=True,
            last_event_id=headers[0] if headers else None,
            as_strings=True,
        )
        return EventStream(admission, opened)

    return router
