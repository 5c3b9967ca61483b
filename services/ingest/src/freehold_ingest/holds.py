"""Holds: amounts set aside, then captured, released, or expired."""

import orjson
from fastapi import APIRouter

from freehold.contracts.errors import (
    DomainError,
    DuplicateExternalId,
    HoldNotPending,
    InsufficientFunds,
)
from freehold.contracts.holds import Hold, NewCapture, NewHold, NewRelease
from freehold.http.bodies import parse
from freehold.http.direct import Reply
from freehold.ledger.append import Answer, AppendRequest, Capture, Outcome, Release, fingerprint
from freehold.ledger.documents import hold_document, hold_status
from freehold_ingest.admission import Admission
from freehold_ingest.answers import reply
from freehold_ingest.append_routes import Submission, add_append_route
from freehold_ingest.appender import Appender

HOLD_MODELS = (NewHold, NewCapture, NewRelease)


class Holds:
    """Places and settles holds. Every refusal is a DomainError."""

    def __init__(self, appender: Appender) -> None:
        self._appender = appender

    async def place(self, asked: Submission) -> Reply:
        """Set an amount aside."""
        additions = [parse(NewHold, asked.body)]
        wanted = AppendRequest(asked.key, fingerprint("hold", additions), additions)
        return reply(await self._appender.append(asked.home, wanted), _hold)

    async def capture(self, asked: Submission) -> Reply:
        """Post what a hold holds, or a part of it, and let go of the rest."""
        amount_minor = parse(NewCapture, asked.body or b"{}").amount_minor
        return await self._settle(asked, "capture", Capture(asked.target, amount_minor))

    async def release(self, asked: Submission) -> Reply:
        """Let go of a hold."""
        parse(NewRelease, asked.body or b"{}")
        return await self._settle(asked, "release", Release(asked.target))

    async def _settle(
        self, asked: Submission, operation: str, settlement: Capture | Release
    ) -> Reply:
        wanted = AppendRequest(asked.key, fingerprint(operation, [settlement]), [settlement])
        answer = await self._appender.append(asked.home, wanted)
        if answer.outcome is Outcome.HOLD_NOT_PENDING:
            raise _not_pending(answer)
        return reply(answer, _hold)


def hold_routes(admission: Admission, holds: Holds) -> APIRouter:
    """Make the routes of holds."""
    router = APIRouter(prefix="/v1/holds", tags=["holds"])

    add_append_route(
        router,
        admission,
        "",
        holds.place,
        operation_id="place_hold",
        summary="Set an amount aside.",
        body=NewHold,
        answer=Hold,
        problems=(DuplicateExternalId, InsufficientFunds),
    )

    add_append_route(
        router,
        admission,
        "/{hold_id}/capture",
        holds.capture,
        operation_id="capture_hold",
        summary="Post what a hold holds, or a part of it, and let go of the rest.",
        body=NewCapture,
        body_required=False,
        answer=Hold,
        problems=(HoldNotPending,),
    )

    add_append_route(
        router,
        admission,
        "/{hold_id}/release",
        holds.release,
        operation_id="release_hold",
        summary="Let go of a hold.",
        body=NewRelease,
        body_required=False,
        answer=Hold,
        problems=(HoldNotPending,),
    )
    return router


def _hold(answer: Answer) -> bytes:
    return orjson.dumps(hold_document(answer.events))


def _not_pending(answer: Answer) -> DomainError:
    # Nothing has settled it: the time is over.
    status = "expired" if answer.existing is None else hold_status(answer.existing)
    return HoldNotPending(
        f"the hold is {status}",
        hold_status=status,
        existing_event_id=answer.conflicting_id and str(answer.conflicting_id),
    )
