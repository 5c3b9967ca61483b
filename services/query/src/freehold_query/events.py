"""The routes of the ledger itself: events, transactions, holds, and how far the state is behind."""

import orjson
from fastapi import APIRouter, Request, Response

from freehold.contracts.balances import Lag
from freehold.contracts.events import EventPage, LedgerEvent
from freehold.contracts.holds import Hold
from freehold.contracts.problems import NOT_FOUND, Problem
from freehold.contracts.transactions import AppendedTransaction
from freehold.ledger.rendering import (
    event_document,
    event_json,
    hold_document,
    page_json,
    transaction_document,
)
from freehold.security.api_keys import Scope
from freehold.service.application import json_response
from freehold.service.authentication import authenticate, sole_authorization
from freehold.service.parameters import NoQuery, path_id, read_query
from freehold.tenancy.directory import Directory
from freehold.tenancy.homes import Home
from freehold_query.caching import CACHING
from freehold_query.cursors import CursorScope
from freehold_query.parameters import EventListQuery, documented
from freehold_query.reads import Reads


def event_routes(directory: Directory, reads: Reads) -> APIRouter:
    """Make the routes of events, of what several of them make up, and of the lag behind them."""
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
        row = await reads.event(home, path_id(request.path_params["event_id"], "event"))
        if row is None:
            raise _not_found("event")
        return json_response(event_json(row), headers=CACHING)

    @router.get(
        "/v1/transactions/{transaction_id}",
        tags=["transactions"],
        summary="A balanced transaction with its legs (scope read or audit)",
        response_model=AppendedTransaction,
        openapi_extra=documented(NoQuery, transaction_id="The transaction's UUID."),
    )
    async def transaction(request: Request) -> Response:
        home = await reader(request, Scope.READ, Scope.AUDIT)
        read_query(NoQuery, request)
        rows = await reads.legs(home, path_id(request.path_params["transaction_id"], "transaction"))
        if not rows:
            raise _not_found("transaction")
        return json_response(orjson.dumps(transaction_document(rows)), headers=CACHING)

    @router.get(
        "/v1/holds/{hold_id}",
        tags=["holds"],
        summary="A hold, as far as its life has come",
        description="Pending until the ledger says otherwise: one past its `expires_at` is settled"
        " within seconds, and before anything else that the tenant appends.",
        response_model=Hold,
        openapi_extra=documented(NoQuery, hold_id="The hold's UUID."),
    )
    async def hold(request: Request) -> Response:
        home = await reader(request, Scope.READ)
        read_query(NoQuery, request)
        rows = await reads.hold_events(home, path_id(request.path_params["hold_id"], "hold"))
        if not rows:
            raise _not_found("hold")
        return json_response(orjson.dumps(hold_document(rows)), headers=CACHING)

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


def _not_found(what: str) -> Problem:
    return Problem(NOT_FOUND, f"there is no such {what}")
