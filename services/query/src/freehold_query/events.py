"""The routes of the ledger itself: its events, one event, and how far the state is behind it."""

import orjson
from fastapi import APIRouter, Request, Response

from freehold.contracts.balances import Lag
from freehold.contracts.events import EventPage, LedgerEvent
from freehold.contracts.fields import read_event_id
from freehold.contracts.problems import NOT_FOUND, Problem
from freehold.ledger.rendering import event_document, event_json, page_json
from freehold.security.api_keys import Scope
from freehold.service.application import json_response
from freehold.service.authentication import authenticate, sole_authorization
from freehold.service.parameters import NoQuery, read_query
from freehold.tenancy.directory import Directory
from freehold.tenancy.homes import Home
from freehold_query.caching import CACHING
from freehold_query.cursors import CursorScope
from freehold_query.parameters import EventListQuery, documented
from freehold_query.reads import Reads


def event_routes(directory: Directory, reads: Reads) -> APIRouter:
    """Make the routes of events and of the lag behind them."""
    router = APIRouter()

    async def reader(request: Request, *scopes: Scope) -> Home:
        caller = await authenticate(directory, sole_authorization(request), *scopes)
        return caller.home

    @router.get(
        "/v1/events",
        tags=["events"],
        summary="Events in ledger order (scope read or audit)",
        response_model=EventPage,
        openapi_extra=documented(EventListQuery),
    )
    async def list_events(request: Request) -> Response:
        home = await reader(request, Scope.READ, Scope.AUDIT)
        query = read_query(EventListQuery, request)
        cursors = CursorScope(home, "events", query.account_id)
        rows = await reads.events(
            home,
            account_id=query.account_id,
            after=None if query.cursor is None else cursors.read_event(query.cursor),
            # One more than asked for tells whether a page follows.
            rows_max=query.limit + 1,
        )
        page = rows[: query.limit]
        more = len(rows) > query.limit
        next_cursor = cursors.write(str(page[-1]["event_id"])) if more else None
        return json_response(page_json(map(event_document, page), next_cursor), headers=CACHING)

    @router.get(
        "/v1/events/{event_id}",
        tags=["events"],
        summary="One event (scope read or audit)",
        response_model=LedgerEvent,
        openapi_extra=documented(NoQuery, event_id="The event's UUID."),
    )
    async def event(request: Request) -> Response:
        home = await reader(request, Scope.READ, Scope.AUDIT)
        read_query(NoQuery, request)
        event_id = read_event_id(request.path_params["event_id"])
        row = None if event_id is None else await reads.event(home, event_id)
        if row is None:
            raise Problem(NOT_FOUND, "there is no such event")
        return json_response(event_json(row), headers=CACHING)

    @router.get(
        "/v1/lag",
        tags=["lag"],
        summary="How far the state is behind the ledger",
        response_model=Lag,
        openapi_extra=documented(NoQuery),
    )
    async def lag(request: Request) -> Response:
        home = await reader(request, Scope.READ)
        read_query(NoQuery, request)
        found = await reads.lag(home)
        document = {
            "head_seq": found.head_seq,
            "projected_seq": found.projected_seq,
            "events_behind": found.events_behind,
            "seconds_behind": found.seconds_behind,
        }
        return json_response(orjson.dumps(document), headers=CACHING)

    return router
