"""Ingest's routes: bytes in, bytes out, under the documentation that FastAPI makes of them."""

from fastapi import APIRouter, Request, Response

from freehold.contracts.events import AppendedBatch, LedgerEvent, NewBatch, NewEvent, NewReversal
from freehold.service.bodies import json_body, read_body
from freehold.service.parameters import path_id
from freehold_ingest.admission import Admission
from freehold_ingest.intake import Intake
from freehold_ingest.requests import (
    KEY_HEADER,
    idempotency_key,
    refuse_parameters,
    response_of,
)

REQUEST_MODELS = (NewEvent, NewBatch, NewReversal)

_PREFER_HEADER = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string"},
    "description": "`return=minimal` leaves the events out of the answer.",
}


def direct_routes(admission: Admission, intake: Intake) -> APIRouter:
    """Make the routes that all events come in by: the ones to be fast."""
    router = APIRouter(prefix="/v1", tags=["events"])

    @router.post(
        "/events",
        status_code=201,
        response_model=LedgerEvent,
        summary="Append one event.",
        openapi_extra={"parameters": [KEY_HEADER], **json_body(NewEvent)},
    )
    async def post_event(request: Request) -> Response:
        async with admission.of(request) as home:
            refuse_parameters(request)
            key = idempotency_key(request)
            body = await read_body(request)
            return response_of(await intake.event(home, key, body, in_order=False))

    @router.post(
        "/events/batch",
        status_code=201,
        response_model=AppendedBatch,
        summary="Append events together: all or none.",
        openapi_extra={"parameters": [KEY_HEADER, _PREFER_HEADER], **json_body(NewBatch)},
    )
    async def post_batch(request: Request) -> Response:
        async with admission.of(request) as home:
            refuse_parameters(request)
            key = idempotency_key(request)
            minimal = _prefers_minimal(request)
            body = await read_body(request)
            answer = await intake.batch(home, key, body, minimal=minimal, in_order=False)
            response = response_of(answer)
        if minimal:
            response.headers["Preference-Applied"] = "return=minimal"
        return response

    return router


def routes(admission: Admission, intake: Intake) -> APIRouter:
    """Make the other routes of events."""
    router = APIRouter(prefix="/v1", tags=["events"])

    @router.post(
        "/events/{event_id}/reversal",
        status_code=201,
        response_model=LedgerEvent,
        summary="Append the event that undoes another.",
        openapi_extra={"parameters": [KEY_HEADER], **json_body(NewReversal, required=False)},
    )
    async def post_reversal(request: Request, event_id: str) -> Response:
        async with admission.of(request) as home:
            refuse_parameters(request)
            key = idempotency_key(request)
            wanted = path_id(event_id, "event")
            return response_of(await intake.reversal(home, key, wanted, await read_body(request)))

    return router


def _prefers_minimal(request: Request) -> bool:
    """Whether the client asks for a short answer (RFC 7240, section 4.2)."""
    preferences = ",".join(request.headers.getlist("prefer")).split(",")
    for preference in preferences:
        name, _, value = preference.partition(";")[0].partition("=")
        if name.strip().lower() == "return" and value.strip().strip('"').lower() == "minimal":
            return True
    return False
