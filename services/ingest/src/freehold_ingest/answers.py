"""What append answered, as HTTP answers: the same bytes for a created and a replayed request."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import orjson

from freehold.contracts.problems import (
    ALREADY_REVERSED,
    DUPLICATE_EXTERNAL_ID,
    IDEMPOTENCY_KEY_REUSED,
    NOT_FOUND,
    NOT_REVERSIBLE,
    Problem,
)
from freehold.ledger.client import Answer, Outcome, Record
from freehold.ledger.rendering import event_document, event_json

Render = Callable[[list[Record]], bytes]

_REPLAYED = {"Idempotency-Replayed": "true"}


class Reply(NamedTuple):
    """An answer to a request, over HTTP or not."""

    status: int
    body: bytes
    headers: Mapping[str, str] = MappingProxyType({})


def reply(answer: Answer, render: Render) -> Reply:
    """Answer 201 with the events, or raise why there are none.

    Raises:
        Problem: The request was refused.
    """
    if answer.outcome is Outcome.CREATED:
        return Reply(201, render(answer.events))
    if answer.outcome is Outcome.REPLAYED:
        return Reply(201, render(answer.events), _REPLAYED)
    raise refusal(answer)


def one_event(events: list[Record]) -> bytes:
    """Write the single event of a request."""
    return event_json(events[0])


def whole_batch(events: list[Record]) -> bytes:
    """Write a batch with its events."""
    return orjson.dumps(
        {
            "first_seq": events[0]["seq"],
            "last_seq": events[-1]["seq"],
            "events": [event_document(event) for event in events],
        }
    )


def minimal_batch(events: list[Record]) -> bytes:
    """Write a batch without its events (RFC 7240, return=minimal)."""
    return orjson.dumps({"first_seq": events[0]["seq"], "last_seq": events[-1]["seq"]})


def refusal(answer: Answer) -> Problem:
    """Say why a request was refused."""
    existing = None if answer.conflicting_event_id is None else str(answer.conflicting_event_id)
    match answer.outcome:
        case Outcome.KEY_REUSED:
            return Problem(
                IDEMPOTENCY_KEY_REUSED, "this Idempotency-Key was used for another request"
            )
        case Outcome.DUPLICATE_EXTERNAL_ID:
            return Problem(
                DUPLICATE_EXTERNAL_ID,
                f"the external_id belongs to event {existing}",
                existing_event_id=existing,
            )
        case Outcome.ALREADY_REVERSED:
            return Problem(
                ALREADY_REVERSED,
                f"the event was reversed by event {existing}",
                existing_event_id=existing,
            )
        case Outcome.EVENT_NOT_FOUND:
            return Problem(NOT_FOUND, "there is no such event")
        case Outcome.NOT_REVERSIBLE:
            return Problem(NOT_REVERSIBLE, "the opposite amount does not fit in 64 bits")
        case _:
            raise RuntimeError(f"{answer.outcome} is no refusal")
