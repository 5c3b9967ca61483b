"""Requests that add events to a ledger, and the events it answers with."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, FailFast, Field
from pydantic.json_schema import SkipJsonSchema

from freehold.contracts.fields import (
    AccountId,
    AmountMinor,
    Currency,
    EventId,
    EventType,
    ExternalId,
    Metadata,
    MetadataValue,
    TransactionTime,
)
from freehold.contracts.values import CurrencyCode, Cursor, HexSha256, PostedMinor, Seq

BATCH_EVENTS_MAX = 10_000

NEW_EVENT_EXAMPLE: dict[str, Any] = {
    "account_id": "cus_42",
    "event_type": "CHARGE",
    "amount_minor": 2000,
    "currency": "USD",
    "transaction_time": "2026-03-01T12:00:00Z",
    "external_id": "ch_1",
    "metadata": {"plan": "pro"},
}

NEW_REFUND_EXAMPLE: dict[str, Any] = {
    "account_id": "cus_42",
    "event_type": "REFUND",
    "amount_minor": -500,
    "currency": "USD",
    "refunds_event_id": "019ca9a8-5a00-7000-8000-0007c0a8d5e1",
    "external_id": "re_1",
}

LEDGER_EVENT_EXAMPLE: dict[str, Any] = {
    "event_id": "019ca9a8-5a00-7000-8000-0007c0a8d5e1",
    "seq": 7,
    "account_id": "cus_42",
    "event_type": "CHARGE",
    "amount_minor": 2000,
    "currency": "USD",
    "transaction_time": "2026-03-01T12:00:00.000000Z",
    "recorded_at": "2026-03-01T12:00:00.250000Z",
    "external_id": "ch_1",
    "metadata": {"plan": "pro"},
    "transaction_id": None,
    "reverses_event_id": None,
    "refunds_event_id": None,
    "hash": "9f2c6c1d1d0f6d3a5c3cf1a3b7a7d4f1d0c7f3a49f2c6c1d1d0f6d3a5c3cf1a3",
}

HOLD_EVENT_EXAMPLE: dict[str, Any] = {
    **LEDGER_EVENT_EXAMPLE,
    "event_type": "HOLD",
    "amount_minor": 0,
    "external_id": "auth_1",
    "metadata": {"order": "1017"},
    "hold_id": "019ca9a8-5a00-7000-8000-0007c0a8d5e1",
    "held_minor": 300,
}


class Request(BaseModel):
    """A request body: JSON types as they are, no unknown fields."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NewEvent(Request):
    """One event to append. Positive amounts add to the balance, negative ones take from it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [NEW_EVENT_EXAMPLE, NEW_REFUND_EXAMPLE]}
    )

    account_id: AccountId
    event_type: EventType = Field(
        description="Not REVERSAL or HOLD, and not beginning with REVERSAL_ or HOLD_: these are the"
        " ledger's own."
    )
    amount_minor: AmountMinor
    currency: Currency
    transaction_time: TransactionTime | None = None
    refunds_event_id: EventId | None = Field(
        default=None,
        description="The event of which this one gives back a part, or all: of the same account and"
        " currency, with the opposite sign. All refunds of an event together are at most its"
        " amount. It is in the ledger already, so it is none of the same request.",
    )
    external_id: ExternalId | None = None
    metadata: Metadata | None = None


class NewBatch(Request):
    """Events to append together: all or none."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"events": [NEW_EVENT_EXAMPLE]}]})

    events: Annotated[list[NewEvent], FailFast()] = Field(min_length=1, max_length=BATCH_EVENTS_MAX)


class NewReversal(Request):
    """The reason and the time of a reversal. Both are optional."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"reason": "charged twice", "transaction_time": "2026-03-02T09:00:00Z"},
                {},
            ]
        }
    )

    reason: MetadataValue | None = None
    transaction_time: TransactionTime | None = None


class LedgerEvent(BaseModel):
    """An event as the ledger holds it. Nothing in it ever changes.

    Only events of holds (HOLD, HOLD_CAPTURE, HOLD_RELEASE, HOLD_EXPIRY) have `hold_id` and
    `held_minor`.
    """

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"examples": [LEDGER_EVENT_EXAMPLE, HOLD_EVENT_EXAMPLE]}
    )

    event_id: UUID = Field(description="UUIDv7; sorts as seq does.")
    seq: Seq = Field(description="The ledger's gap-free event number.")
    account_id: AccountId
    event_type: EventType
    amount_minor: PostedMinor
    currency: CurrencyCode
    transaction_time: datetime
    recorded_at: datetime
    external_id: ExternalId | None
    metadata: Metadata
    transaction_id: UUID | None = Field(
        description="On each leg of a balanced transaction; the event_id of its first leg."
    )
    reverses_event_id: UUID | None
    refunds_event_id: UUID | None
    hash: HexSha256
    hold_id: UUID | SkipJsonSchema[None] = Field(
        default=None, description="Only in events of holds."
    )
    held_minor: PostedMinor | SkipJsonSchema[None] = Field(
        default=None,
        description="Only in events of holds: what the event adds to the amount held; negative if"
        " it settles the hold.",
    )


class AppendedBatch(BaseModel):
    """A batch as the ledger holds it."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {"first_seq": 7, "last_seq": 7, "events": [LEDGER_EVENT_EXAMPLE]},
                {"first_seq": 7, "last_seq": 9},
            ]
        },
    )

    first_seq: Seq
    last_seq: Seq
    events: (
        Annotated[list[LedgerEvent], Field(min_length=1, max_length=BATCH_EVENTS_MAX)]
        | SkipJsonSchema[None]
    ) = Field(default=None, description="Left out with `Prefer: return=minimal`.")


class EventPage(BaseModel):
    """A page of events in ledger order."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={"examples": [{"data": [LEDGER_EVENT_EXAMPLE], "next_cursor": None}]},
    )

    data: list[LedgerEvent]
    next_cursor: Cursor | None
