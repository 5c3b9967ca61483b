"""What append answered, as HTTP answers: the same bytes for a created and a replayed request."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import orjson

from freehold.contracts.errors import (
    AlreadyRefunded,
    AlreadyReversed,
    DomainError,
    DuplicateExternalId,
    IdempotencyKeyReused,
    InsufficientFunds,
    NotFound,
    NotReversible,
    RefundNotAllowed,
    ValidationFailed,
)
from freehold.contracts.events import NewEvent
from freehold.contracts.facts import Fact, differing
from freehold.contracts.fields import EVENT_TYPES_RESERVED
from freehold.contracts.holds import NewHold
from freehold.contracts.problems import FieldError
from freehold.http.bodies import pointer
from freehold.http.direct import Reply
from freehold.ledger.append import Addition, Answer, Outcome, Reversal
from freehold.ledger.documents import event_json, new_event_json

Render = Callable[[Answer], bytes]

_REPLAYED = {"Idempotency-Replayed": "true"}


class _Conflict(NamedTuple):
    """Why something that is there already stands against a request."""

    error: type[DomainError]
    detail: str
    member: str | None = None
    """The member of the problem that names what stands against it."""


class _Fault(NamedTuple):
    """Which field of a request is at fault, and why."""

    error: type[DomainError]
    field: str
    detail: str


_CONFLICTS = {
    Outcome.KEY_REUSED: _Conflict(
        IdempotencyKeyReused, "this Idempotency-Key was used for another request"
    ),
    Outcome.ALREADY_REVERSED: _Conflict(
        AlreadyReversed, "the event was reversed by event {existing}", "existing_event_id"
    ),
    Outcome.EVENT_NOT_FOUND: _Conflict(NotFound, "there is no such event"),
    Outcome.TRANSACTION_NOT_FOUND: _Conflict(NotFound, "there is no such transaction"),
    Outcome.NOT_REVERSIBLE: _Conflict(
        NotReversible, "the event posts nothing to reverse, or its opposite does not fit in 64 bits"
    ),
    Outcome.TRANSACTION_LEG: _Conflict(
        NotReversible,
        "the event is a leg of transaction {existing}, which is reversed as a whole",
        "transaction_id",
    ),
    Outcome.ALREADY_REFUNDED: _Conflict(
        AlreadyRefunded,
        "less is left of event {existing} than the reversal takes ({room}, after refunds): refund"
        " what is left, or reverse the refunds first",
        "refunded_event_id",
    ),
    Outcome.HOLD_NOT_FOUND: _Conflict(NotFound, "there is no such hold"),
}
_FAULTS = {
    Outcome.PREDATES_ORIGINAL: _Fault(
        ValidationFailed,
        "transaction_time",
        "transaction_time must not lie before that of the event, or of any leg, that is undone",
    ),
    Outcome.EVENT_TYPE_RESERVED: _Fault(
        ValidationFailed, "event_type", f"event_type {EVENT_TYPES_RESERVED}"
    ),
    Outcome.UNBALANCED: _Fault(ValidationFailed, "", "legs must sum to zero in each currency"),
    Outcome.EVENT_TYPE_UNKNOWN: _Fault(
        ValidationFailed,
        "event_type",
        "{event_type} is not among the declared event types, and others are refused",
    ),
    Outcome.EVENT_TYPE_SIGN: _Fault(
        ValidationFailed, "amount_minor", "{event_type} is declared for {sign} amounts only"
    ),
    Outcome.REFUNDED_NOT_FOUND: _Fault(
        RefundNotAllowed, "refunds_event_id", "refunds_event_id must name an event, and names none"
    ),
    Outcome.REFUND_OF_REFUND: _Fault(
        RefundNotAllowed,
        "refunds_event_id",
        "refunds_event_id must not name a refund, which event {existing} is: reverse it instead",
    ),
    Outcome.REFUND_OF_REVERSAL: _Fault(
        RefundNotAllowed,
        "refunds_event_id",
        "refunds_event_id must not name a reversal, which event {existing} is: reverse it instead",
    ),
    Outcome.REFUND_OF_HOLD: _Fault(
        RefundNotAllowed,
        "refunds_event_id",
        "refunds_event_id must name an event that posts an amount, and event {existing} posts none",
    ),
    Outcome.REFUND_ACCOUNT: _Fault(
        RefundNotAllowed,
        "account_id",
        "account_id must be that of event {existing}, which is to be refunded",
    ),
    Outcome.REFUND_CURRENCY: _Fault(
        RefundNotAllowed,
        "currency",
        "currency must be that of event {existing}, which is to be refunded",
    ),
    Outcome.REFUND_SIGN: _Fault(
        RefundNotAllowed,
        "amount_minor",
        "amount_minor must have the opposite sign of event {existing}, which is to be refunded",
    ),
    Outcome.REFUND_EXCEEDS: _Fault(
        RefundNotAllowed,
        "amount_minor",
        "amount_minor must not give back more than is left of event {existing}, which is {room}",
    ),
    Outcome.HOLD_EXCEEDED: _Fault(
        ValidationFailed, "amount_minor", "amount_minor must not be more than the hold holds"
    ),
    Outcome.HOLD_EXPIRY_PAST: _Fault(ValidationFailed, "expires_at", "expires_at must lie ahead"),
    Outcome.INSUFFICIENT_FUNDS: _Fault(
        InsufficientFunds, "amount_minor", "{account} would be taken below its limit"
    ),
}


def reply(answer: Answer, render: Render, at: str | None = "") -> Reply:
    """Answer 201 with the events, or raise why there are none; `at` as for `refusal`.

    Raises:
        DomainError: The request was refused.
    """
    if answer.outcome is Outcome.CREATED:
        return Reply(201, render(answer))
    if answer.outcome is Outcome.REPLAYED:
        return Reply(201, render(answer), _REPLAYED)
    raise refusal(answer, at)


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


def refusal(answer: Answer, at: str | None = "") -> DomainError:
    """Make the error of a request that append refused.

    Args:
        answer: What append answered to the request.
        at: Where the request's body has its list of events, as a JSON pointer; empty where the body
            is one event, None where it has no event and names what is in the ledger.
    """
    if answer.outcome is Outcome.DUPLICATE_EXTERNAL_ID:
        return _duplicate(answer, at)
    conflict = _CONFLICTS.get(answer.outcome)
    if conflict is not None:
        existing = None if answer.conflicting_id is None else str(answer.conflicting_id)
        members: dict[str, Any] = {} if conflict.member is None else {conflict.member: existing}
        detail = conflict.detail.format(existing=existing, room=answer.room)
        return conflict.error(detail, **members)
    fault = _FAULTS[answer.outcome]
    detail = _detail(fault.detail, answer)
    if answer.outcome is Outcome.PREDATES_ORIGINAL:
        # A reversal's body has this field, whatever it undoes.
        at = ""
    if at is None:
        return fault.error(detail)
    item = f"/{answer.index}" if at and answer.index is not None else ""
    field = f"/{fault.field}" if fault.field and (item or not at) else ""
    errors = [FieldError(pointer=f"{at}{item}{field}", detail=detail)]
    return fault.error(detail, errors=errors)


def is_known(answer: Answer) -> bool:
    """Whether the request adds nothing: the event with its external_id states all of it already."""
    return answer.outcome is Outcome.DUPLICATE_EXTERNAL_ID and _differing(answer) == []


def _differing(answer: Answer) -> list[Fact] | None:
    """Name the facts in which the request differs from the event that has its external_id.

    None where that event cannot be read.
    """
    addition = _fault_of(answer)
    if answer.existing is None or not isinstance(addition, NewEvent | NewHold):
        return None
    return differing(addition, answer.existing)


def _duplicate(answer: Answer, at: str | None) -> DomainError:
    """Make the error of an external_id that an earlier event has, with what differs."""
    addition = _fault_of(answer)
    external_id = addition.external_id if isinstance(addition, NewEvent | NewHold) else None
    existing = None if answer.conflicting_id is None else str(answer.conflicting_id)
    differs = _differing(answer)
    detail = f"the external_id {external_id} belongs to event {existing}"
    if differs is None:
        detail += ", which cannot be compared with it"
    elif differs:
        detail += f", which differs in {', '.join(map('.'.join, differs))}"
    else:
        detail += ", which says the same"
    item = f"{at}/{answer.index}" if at and answer.index is not None else ""
    errors = [
        FieldError(pointer=item + pointer(fact), detail=detail)
        for fact in differs or [("external_id",)]
    ]
    return DuplicateExternalId(
        detail,
        existing_event_id=existing,
        external_id=external_id,
        differs=differs and [".".join(fact) for fact in differs],
        errors=errors,
    )


def _fault_of(answer: Answer) -> Addition | None:
    """Give the addition at fault; None where there is none, or only the ledger knows the event."""
    additions = answer.request.additions
    # One reversal stands for all legs of a transaction.
    if answer.index is None or isinstance(additions[0], Reversal):
        return None
    return additions[answer.index]


def _detail(sentence: str, answer: Answer) -> str:
    """Complete a sentence with facts of the addition at fault and what stands against it."""
    addition = _fault_of(answer)
    account, event_type, sign = "an account", "", ""
    if isinstance(addition, NewEvent | NewHold):
        account = f"{addition.account_id} in {addition.currency}"
    elif answer.existing is not None:
        account = f"{answer.existing['account_id']} in {answer.existing['currency']}"
    if isinstance(addition, NewEvent):
        event_type = addition.event_type
        sign = "negative" if addition.amount_minor > 0 else "positive"
    return sentence.format(
        account=account,
        event_type=event_type,
        sign=sign,
        existing=answer.conflicting_id,
        room=answer.room,
    )
