"""The routes of events."""

from collections.abc import Awaitable

from fastapi import APIRouter

from freehold.contracts.errors import (
    AlreadyRefunded,
    AlreadyReversed,
    DuplicateExternalId,
    InsufficientFunds,
    NotReversible,
    RefundNotAllowed,
)
from freehold.contracts.events import AppendedBatch, LedgerEvent, NewBatch, NewEvent, NewReversal
from freehold.http.direct import Reply
from freehold.http.preferences import applied, preference
from freehold_ingest.admission import Admission
from freehold_ingest.append_routes import Submission, add_append_route
from freehold_ingest.intake import Intake

REQUEST_MODELS = (NewEvent, NewBatch, NewReversal)


def event_routes(admission: Admission, intake: Intake) -> APIRouter:
    """Make the routes of events."""
    router = APIRouter(prefix="/v1/events", tags=["events"])

    def event(asked: Submission) -> Awaitable[Reply]:
        return intake.event(asked.home, asked.key, asked.body)

    add_append_route(
        router,
        admission,
        "",
        event,
        operation_id="append_event",
        summary="Append one event.",
        body=NewEvent,
        answer=LedgerEvent,
        problems=(DuplicateExternalId, RefundNotAllowed, InsufficientFunds),
    )

    async def batch(asked: Submission) -> Reply:
        minimal = preference(asked.request, "return") == "minimal"
        answer = await intake.batch(asked.home, asked.key, asked.body, minimal=minimal)
        return applied(answer, "return=minimal") if minimal else answer

    add_append_route(
        router,
        admission,
        "/batch",
        batch,
        operation_id="append_batch",
        summary="Append events together: all or none.",
        body=NewBatch,
        answer=AppendedBatch,
        problems=(DuplicateExternalId, RefundNotAllowed, InsufficientFunds),
        preferences=("`return=minimal` leaves the events out of the answer.",),
    )

    add_append_route(
        router,
        admission,
        "/{event_id}/reversal",
        intake.reversal,
        operation_id="reverse_event",
        summary="Append the event that undoes another.",
        body=NewReversal,
        body_required=False,
        answer=LedgerEvent,
        problems=(AlreadyReversed, AlreadyRefunded, NotReversible, InsufficientFunds),
    )
    return router
