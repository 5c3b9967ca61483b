"""Ingest's routes: bytes in, bytes out, under the documentation that FastAPI makes of them."""

import re
from uuid import UUID

from fastapi import APIRouter, Request, Response

from freehold.contracts.events import AppendedBatch, LedgerEvent, NewBatch, NewEvent, NewReversal
from freehold.contracts.fields import read_event_id
from freehold.contracts.problems import (
    IDEMPOTENCY_KEY_INVALID,
    IDEMPOTENCY_KEY_MISSING,
    NOT_FOUND,
    Problem,
)
from freehold.security.api_keys import Scope
from freehold.service.application import json_response
from freehold.service.authentication import authenticate, sole_authorization
from freehold.service.bodies import field_errors, json_body
from freehold.tenancy.directory import Directory
from freehold.tenancy.homes import Home
from freehold_ingest.answers import Reply
from freehold_ingest.intake import Intake

REQUEST_MODELS = (NewEvent, NewBatch, NewReversal)

_KEY = re.compile(r"[\x20-\x7e]{1,255}", re.ASCII)
_KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Send the same key again to repeat a request safely.",
}
_PREFER_HEADER = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string"},
    "description": "`return=minimal` leaves the events out of the answer.",
}


def routes(directory: Directory, intake: Intake) -> APIRouter:
    """Make ingest's routes."""
    router = APIRouter(prefix="/v1", tags=["events"])

    async def caller(request: Request) -> Home:
        home = (await authenticate(directory, sole_authorization(request), Scope.INGEST)).home
        if request.query_params:
            raise field_errors(
                (f"/{name}", "this route takes no parameters") for name in request.query_params
            )
        return home

    @router.post(
        "/events",
        status_code=201,
        response_model=LedgerEvent,
        summary="Append one event.",
        openapi_extra={"parameters": [_KEY_HEADER], **json_body(NewEvent)},
    )
    async def post_event(request: Request) -> Response:
        home = await caller(request)
        key = idempotency_key(request)
        return _response(await intake.event(home, key, await request.body()))

    @router.post(
        "/events/batch",
        status_code=201,
        response_model=AppendedBatch,
        summary="Append events together: all or none.",
        openapi_extra={"parameters": [_KEY_HEADER, _PREFER_HEADER], **json_body(NewBatch)},
    )
    async def post_batch(request: Request) -> Response:
        home = await caller(request)
        key = idempotency_key(request)
        minimal = _prefers_minimal(request)
        response = _response(await intake.batch(home, key, await request.body(), minimal=minimal))
        if minimal:
            response.headers["Preference-Applied"] = "return=minimal"
        return response

    @router.post(
        "/events/{event_id}/reversal",
        status_code=201,
        response_model=LedgerEvent,
        summary="Append the event that undoes another.",
        openapi_extra={"parameters": [_KEY_HEADER], **json_body(NewReversal, required=False)},
    )
    async def post_reversal(request: Request, event_id: str) -> Response:
        home = await caller(request)
        key = idempotency_key(request)
        wanted = _event_id(event_id)
        return _response(await intake.reversal(home, key, wanted, await request.body()))

    return router


def idempotency_key(request: Request) -> str:
    """Take a request's idempotency key.

    Raises:
        Problem: idempotency-key-missing, idempotency-key-invalid.
    """
    keys = request.headers.getlist("idempotency-key")
    key = keys[0].strip() if keys else ""
    if not key:
        raise Problem(IDEMPOTENCY_KEY_MISSING, "send an Idempotency-Key header")
    if len(keys) > 1:
        raise Problem(IDEMPOTENCY_KEY_INVALID, "send one Idempotency-Key header, not several")
    if not _KEY.fullmatch(key):
        raise Problem(IDEMPOTENCY_KEY_INVALID, "a key has 1 to 255 printable ASCII characters")
    return key


def _response(reply: Reply) -> Response:
    return json_response(reply.body, reply.status, reply.headers)


def _event_id(text: str) -> UUID:
    event_id = read_event_id(text)
    if event_id is None:
        raise Problem(NOT_FOUND, "there is no such event")
    return event_id


def _prefers_minimal(request: Request) -> bool:
    """Whether the client asks for a short answer (RFC 7240, section 4.2)."""
    preferences = ",".join(request.headers.getlist("prefer")).split(",")
    for preference in preferences:
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "return" and value.strip().strip('"').lower() == "minimal":
            return True
    return False
