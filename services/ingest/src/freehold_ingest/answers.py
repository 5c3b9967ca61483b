"""What append answered, as HTTP answers: the same bytes for a created and a replayed request."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from freehold.contracts.events import NewEvent
from freehold.contracts.holds import NewHold
from freehold.contracts.problems import (
    ALREADY_REVERSED,
    DUPLICATE_EXTERNAL_ID,
    IDEMPOTENCY_KEY_REUSED,
    INSUFFICIENT_FUNDS,
    NOT_FOUND,
    NOT_REVERSIBLE,
    VALIDATION_FAILED,
    Problem,
    ProblemType,
)
from freehold.ledger.appending import Answer, AppendRequest, Outcome, Row
from freehold.ledger.rendering import event_json, new_event_json

Render = Callable[[Answer], bytes]

_REPLAYED = {"Idempotency-Replayed": "true"}


class Reply(NamedTuple):
    """An answer to a request, over HTTP or not."""

    status: int
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})


class _Conflict(NamedTuple):
    """Why something that is there already stands against a request."""

    kind: ProblemType
    detail: str
    member: str | None = None
    """The member of the problem that names what stands against it."""


class _Fault(NamedTuple):
    """Which field of a request is at fault, and why."""

    kind: ProblemType
    field: str
    detail: str


_CONFLICTS = {
    Outcome.KEY_REUSED: _Conflict(
        IDEMPOTENCY_KEY_REUSED, "this Idempotency-Key was used for another request"
    ),
    Outcome.DUPLICATE_EXTERNAL_ID: _Conflict(
        DUPLICATE_EXTERNAL_ID, "the external_id belongs to event {existing}", "existing_event_id"
    ),
    Outcome.ALREADY_REVERSED: _Conflict(
        ALREADY_REVERSED, "the event was reversed by event {existing}", "existing_event_id"
    ),
    Outcome.EVENT_NOT_FOUND: _Conflict(NOT_FOUND, "there is no such event"),
    Outcome.NOT_REVERSIBLE: _Conflict(
        NOT_REVERSIBLE, "it posts nothing to reverse, or the opposite does not fit in 64 bits"
    ),
    Outcome.TRANSACTION_LEG: _Conflict(
        NOT_REVERSIBLE,
        "the event is a leg of transaction {existing}, which is reversed as a whole",
        "transaction_id",
    ),
    Outcome.HOLD_NOT_FOUND: _Conflict(NOT_FOUND, "there is no such hold"),
}
_FAULTS = {
    Outcome.UNBALANCED: _Fault(VALIDATION_FAILED, "", "the legs must sum to zero in each currency"),
    Outcome.EVENT_TYPE_UNKNOWN: _Fault(
        VALIDATION_FAILED,
        "event_type",
        "{event_type} is not among the declared event types, and others are refused",
    ),
    Outcome.EVENT_TYPE_SIGN: _Fault(
        VALIDATION_FAILED, "amount_minor", "{event_type} is declared for {sign} amounts only"
    ),
    Outcome.HOLD_EXCEEDED: _Fault(
        VALIDATION_FAILED, "amount_minor", "the hold holds less than amount_minor"
    ),
    Outcome.HOLD_EXPIRY_PAST: _Fault(VALIDATION_FAILED, "expires_at", "expires_at must lie ahead"),
    Outcome.INSUFFICIENT_FUNDS: _Fault(
        INSUFFICIENT_FUNDS, "amount_minor", "{account} would be taken below its limit"
    ),
}


def reply(
    answer: Answer,
    render: Render,
    request: AppendRequest,
    at: str | None = "",
    undone: Sequence[Row] = (),
) -> Reply:
    """Answer 201 with the events, or raise why there are none.

    Args:
        answer: What append answered.
        render: Writes the body.
        request: What append was asked.
        at: As for `refusal`.
        undone: As for `refusal`.

    Raises:
        Problem: The request was refused.
    """
    if answer.outcome is Outcome.CREATED:
        return Reply(201, render(answer))
    if answer.outcome is Outcome.REPLAYED:
        return Reply(201, render(answer), _REPLAYED)
    raise refusal(answer, request, at, undone)


def one_event(answer: Answer) -> bytes:
    """Write the single event of a request."""
    return next(_events(answer))


def whole_batch(answer: Answer) -> bytes:
    """Write a batch with its events."""
    first_seq, last_seq = answer.seqs
    events = b",".join(_events(answer))
    return b'{"first_seq":%d,"last_seq":%d,"events":[%b]}' % (first_seq, last_seq, events)


def _events(answer: Answer) -> Iterator[bytes]:
    new = answer.new_events
    return map(new_event_json, new) if new else map(event_json, answer.events)


def minimal_batch(answer: Answer) -> bytes:
    """Write a batch without its events (RFC 7240, return=minimal)."""
    first_seq, last_seq = answer.seqs
    return orjson.dumps({"first_seq": first_seq, "last_seq": last_seq})


def refusal(
    answer: Answer, request: AppendRequest, at: str | None = "", undone: Sequence[Row] = ()
) -> Problem:
    """Say why a request was refused.

    Args:
        answer: What append answered.
        request: What append was asked.
        at: Where the request's body has its list of events, as a JSON pointer; empty where the body
            is the only one, None where it has none, but speaks of what is in the ledger.
        undone: The events that the request's reversals undo, where they are known.
    """
    conflict = _CONFLICTS.get(answer.outcome)
    if conflict is not None:
        existing = None if answer.conflicting_id is None else str(answer.conflicting_id)
        members: dict[str, Any] = {} if conflict.member is None else {conflict.member: existing}
        return Problem(conflict.kind, conflict.detail.format(existing=existing), **members)
    fault = _FAULTS[answer.outcome]
    detail = _detail(fault.detail, answer, request, undone)
    if at is None:
        return Problem(fault.kind, detail)
    place = f"/{answer.place}" if at and answer.place is not None else ""
    field = f"/{fault.field}" if fault.field and (place or not at) else ""
    errors = [{"pointer": f"{at}{place}{field}", "detail": detail}]
    return Problem(fault.kind, detail, errors=errors)


def _detail(sentence: str, answer: Answer, request: AppendRequest, undone: Sequence[Row]) -> str:
    """Complete a sentence with what it says of the addition at fault."""
    addition = None if answer.place is None else request.additions[answer.place]
    account, event_type, sign = "an account", "", ""
    if isinstance(addition, NewEvent | NewHold):
        account = f"{addition.account_id} in {addition.currency}"
    elif undone and answer.place is not None:
        event = undone[answer.place]
        account = f"{event['account_id']} in {event['currency']}"
    if isinstance(addition, NewEvent):
        event_type = addition.event_type
        sign = "negative" if addition.amount_minor > 0 else "positive"
    return sentence.format(account=account, event_type=event_type, sign=sign)
