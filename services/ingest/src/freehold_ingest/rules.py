"""Rules that a tenant sets for their own ledger: event types, and limits on accounts.

To set the same rule again changes nothing, so none of these requests needs an Idempotency-Key.
"""

from collections.abc import Iterable
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import TypeAdapter

from freehold.contracts.fields import AccountId, DeclarableEventType
from freehold.http.application import json_response
from freehold.http.bodies import field_errors, json_body, parse, read_body
from freehold.http.cursors import Cursors, cursor_refused
from freehold.http.direct import Reply
from freehold.http.parameters import PageQuery, documented_query, read_query
from freehold.http.preferences import amounts_as_preferred, prefer_header
from freehold.http.response_headers import documented_headers
from freehold.ledger import rules
from freehold.ledger.client import Record
from freehold.ledger.clocks import Clock
from freehold.security.api_keys import Scope
from freehold_ingest.admission import Admission
from freehold_ingest.calls import Calls
from freehold_ingest.contracts import (
    AccountLimits,
    DeclaredEventType,
    EventTypeList,
    EventTypeSwitch,
    NewAccountLimit,
    NewEventType,
)
from freehold_ingest.requests import path_part, refuse_parameters

RULE_MODELS = (NewEventType, EventTypeSwitch, NewAccountLimit)

_DOCUMENTED_LIMITS: dict[int | str, dict[str, Any]] = {
    200: documented_headers("Preference-Applied")
}
_ACCOUNT_ID: TypeAdapter[str] = TypeAdapter(AccountId)
_EVENT_TYPE: TypeAdapter[str] = TypeAdapter(DeclarableEventType)


def event_type_routes(admission: Admission, calls: Calls, clock: Clock) -> APIRouter:
    """Make the routes of event types."""
    router = APIRouter(prefix="/v1/event-types", tags=["event types"])

    @router.get(
        "",
        operation_id="list_event_types",
        response_model=EventTypeList,
        summary="The declared event types, and whether others are refused.",
        openapi_extra={"parameters": documented_query(PageQuery)},
    )
    async def get_event_types(request: Request) -> Response:
        with await admission.let_in(request, Scope.READ) as home:
            query = read_query(PageQuery, request)
            cursors = Cursors(home.tenant_id, "event types")
            after = "" if query.cursor is None else _event_type(cursors.read(query.cursor))
            async with calls.connection(home, "declared_event_types") as connection:
                found = await rules.event_types(connection)
        # Few enough to be read whole; a page is short all the same.
        rest = [entry for entry in found.declared if entry["event_type"] > after]
        page = rest[: query.limit]
        more = len(rest) > query.limit
        next_cursor = cursors.write(page[-1]["event_type"]) if more else None
        return json_response(
            orjson.dumps({"closed": found.closed, "data": page, "next_cursor": next_cursor})
        )

    @router.put(
        "",
        operation_id="close_event_types",
        response_model=EventTypeSwitch,
        summary="Refuse event types that are not declared, or take them again.",
        openapi_extra={**json_body(EventTypeSwitch)},
    )
    async def put_event_types(request: Request) -> Response:
        with await admission.let_in(request) as home:
            refuse_parameters(request)
            switch = parse(EventTypeSwitch, await read_body(request))
            async with calls.connection(home, "close_event_types") as connection:
                await rules.close_event_types(connection, clock, closed=switch.closed)
        return json_response(switch.model_dump_json().encode())

    @router.put(
        "/{event_type}",
        operation_id="declare_event_type",
        response_model=DeclaredEventType,
        summary="Declare an event type, or change what is declared of it.",
        openapi_extra={**json_body(NewEventType)},
    )
    async def put_event_type(request: Request, event_type: str) -> Response:
        with await admission.let_in(request) as home:
            refuse_parameters(request)
            event_type = path_part("event_type", event_type, _EVENT_TYPE)
            wanted = parse(NewEventType, await read_body(request))
            async with calls.connection(home, "declare_event_type") as connection:
                declared = await rules.declare_event_type(
                    connection, event_type, wanted.sign, wanted.description, clock
                )
        if not declared:
            too_many = (
                f"there are {rules.EVENT_TYPES_MAX} declared event types already, which is the most"
            )
            raise field_errors([("/event_type", too_many)])
        return json_response(orjson.dumps({"event_type": event_type, **wanted.model_dump()}))

    return router


def account_limit_routes(admission: Admission, calls: Calls, clock: Clock) -> APIRouter:
    """Make the routes of limits on accounts."""
    router = APIRouter(prefix="/v1/accounts", tags=["account limits"])

    @router.get(
        "/{account_id}/limits",
        operation_id="get_account_limits",
        response_model=AccountLimits,
        summary="The limits of an account; none where none is set, seen before or not.",
        responses=_DOCUMENTED_LIMITS,
        openapi_extra={"parameters": [prefer_header()]},
    )
    async def get_limits(request: Request, account_id: str) -> Response:
        with await admission.let_in(request, Scope.READ) as home:
            refuse_parameters(request)
            account_id = path_part("account_id", account_id, _ACCOUNT_ID)
            async with calls.connection(home, "limits_of") as connection:
                rows = await rules.limits_of(connection, account_id)
        return _limits(request, account_id, rows)

    @router.put(
        "/{account_id}/limits",
        operation_id="set_account_limit",
        response_model=AccountLimits,
        summary="Set how low an account may be taken in one currency, or lift that limit.",
        responses=_DOCUMENTED_LIMITS,
        openapi_extra={"parameters": [prefer_header()], **json_body(NewAccountLimit)},
    )
    async def put_limit(request: Request, account_id: str) -> Response:
        with await admission.let_in(request) as home:
            refuse_parameters(request)
            account_id = path_part("account_id", account_id, _ACCOUNT_ID)
            wanted = parse(NewAccountLimit, await read_body(request))
            async with calls.connection(home, "limit_account") as connection:
                await rules.limit_account(
                    connection, account_id, wanted.currency, wanted.min_balance_minor, clock
                )
                rows = await rules.limits_of(connection, account_id)
        return _limits(request, account_id, rows)

    return router


def _event_type(position: list[str]) -> str:
    """Read the event type that a page ended with.

    Raises:
        DomainError: validation-failed, where the cursor names no such thing.
    """
    match position:
        case [event_type]:
            return event_type
    raise cursor_refused()


def _limits(request: Request, account_id: str, rows: Iterable[Record]) -> Response:
    body = orjson.dumps({"account_id": account_id, "limits": [dict(row) for row in rows]})
    status, body, headers = amounts_as_preferred(request, Reply(200, body))
    return json_response(body, status, headers)
