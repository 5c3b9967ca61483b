"""Holds: amounts set aside, then captured or released; they expire by themselves."""

from uuid import UUID

import orjson
from fastapi import APIRouter, Request, Response

from freehold.contracts.holds import Hold, NewCapture, NewHold, NewRelease
from freehold.contracts.problems import HOLD_NOT_PENDING, Problem
from freehold.ledger import client as ledger
from freehold.ledger.appending import (
    Answer,
    AppendRequest,
    Capture,
    Outcome,
    Release,
    fingerprint,
)
from freehold.ledger.rendering import hold_document
from freehold.service.bodies import json_body, parse, read_body
from freehold.service.parameters import path_id
from freehold.tenancy.homes import Home
from freehold_ingest.admission import Admission
from freehold_ingest.answers import Reply, reply
from freehold_ingest.appender import Appender
from freehold_ingest.calls import Calls
from freehold_ingest.requests import (
    KEY_HEADER,
    idempotency_key,
    refuse_parameters,
    response_of,
)

HOLD_MODELS = (NewHold, NewCapture, NewRelease)


class Holds:
    """Places and settles holds. Every refusal is a Problem."""

    def __init__(self, appender: Appender, calls: Calls) -> None:
        self._appender = appender
        self._calls = calls

    async def place(self, home: Home, key: str, body: bytes) -> Reply:
        """Set an amount aside."""
        additions = [parse(NewHold, body)]
        wanted = AppendRequest(key, fingerprint("hold", additions), additions)
        return reply(await self._appender.append(home, wanted), _hold, wanted)

    async def capture(self, home: Home, key: str, hold_id: UUID, body: bytes) -> Reply:
        """Post what a hold holds, or a part of it, and let go of the rest."""
        amount_minor = parse(NewCapture, body or b"{}").amount_minor
        return await self._settle(home, key, "capture", Capture(hold_id, amount_minor))

    async def release(self, home: Home, key: str, hold_id: UUID, body: bytes) -> Reply:
        """Let go of a hold."""
        parse(NewRelease, body or b"{}")
        return await self._settle(home, key, "release", Release(hold_id))

    async def _settle(
        self, home: Home, key: str, operation: str, settlement: Capture | Release
    ) -> Reply:
        wanted = AppendRequest(key, fingerprint(operation, [settlement]), [settlement])
        answer = await self._appender.append(home, wanted)
        if answer.outcome is Outcome.HOLD_NOT_PENDING:
            raise await self._not_pending(home, settlement.hold_id, answer)
        return reply(answer, _hold, wanted)

    async def _not_pending(self, home: Home, hold_id: UUID, answer: Answer) -> Problem:
        status = "expired"
        if answer.conflicting_id is not None:
            async with self._calls.connection(home, "hold_events") as connection:
                status = hold_document(await ledger.hold_events(connection, hold_id))["status"]
        return Problem(
            HOLD_NOT_PENDING,
            f"the hold is {status}",
            hold_status=status,
            existing_event_id=answer.conflicting_id and str(answer.conflicting_id),
        )


def hold_routes(admission: Admission, holds: Holds) -> APIRouter:
    """Make the routes of holds."""
    router = APIRouter(prefix="/v1/holds", tags=["holds"])

    @router.post(
        "",
        status_code=201,
        response_model=Hold,
        summary="Set an amount aside.",
        openapi_extra={"parameters": [KEY_HEADER], **json_body(NewHold)},
    )
    async def post_hold(request: Request) -> Response:
        async with admission.of(request) as home:
            refuse_parameters(request)
            key = idempotency_key(request)
            return response_of(await holds.place(home, key, await read_body(request)))

    @router.post(
        "/{hold_id}/capture",
        status_code=201,
        response_model=Hold,
        summary="Post what a hold holds, or a part of it, and let go of the rest.",
        openapi_extra={"parameters": [KEY_HEADER], **json_body(NewCapture, required=False)},
    )
    async def post_capture(request: Request, hold_id: str) -> Response:
        async with admission.of(request) as home:
            refuse_parameters(request)
            key = idempotency_key(request)
            wanted = path_id(hold_id, "hold")
            return response_of(await holds.capture(home, key, wanted, await read_body(request)))

    @router.post(
        "/{hold_id}/release",
        status_code=201,
        response_model=Hold,
        summary="Let go of a hold.",
        openapi_extra={"parameters": [KEY_HEADER], **json_body(NewRelease, required=False)},
    )
    async def post_release(request: Request, hold_id: str) -> Response:
        async with admission.of(request) as home:
            refuse_parameters(request)
            key = idempotency_key(request)
            wanted = path_id(hold_id, "hold")
            return response_of(await holds.release(home, key, wanted, await read_body(request)))

    return router


def _hold(answer: Answer) -> bytes:
    return orjson.dumps(hold_document(answer.events))
