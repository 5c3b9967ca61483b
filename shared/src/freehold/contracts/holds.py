"""Holds: amounts set aside on an account until they are captured, released, or expire."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from freehold.contracts.events import Request
from freehold.contracts.fields import (
    AMOUNT_MAX,
    AccountId,
    Currency,
    ExpiryTime,
    ExternalId,
    Metadata,
)
from freehold.contracts.values import CurrencyCode, Cursor, Seq

NEW_HOLD_EXAMPLE: dict[str, Any] = {
    "account_id": "cus_42",
    "currency": "USD",
    "amount_minor": 300,
    "expires_at": "2026-12-08T12:00:00Z",
    "external_id": "auth_1",
    "metadata": {"order": "1017"},
}

HOLD_EXAMPLE: dict[str, Any] = {
    "hold_id": "019ca9a8-5a00-7000-8000-0007c0a8d5e1",
    "status": "pending",
    "account_id": "cus_42",
    "currency": "USD",
    "amount_minor": 300,
    "captured_minor": 0,
    "expires_at": "2026-12-08T12:00:00.000000Z",
    "created_at": "2026-12-01T12:00:00.250000Z",
    "settled_at": None,
    "external_id": "auth_1",
    "metadata": {"order": "1017"},
    "event_id": "019ca9a8-5a00-7000-8000-0007c0a8d5e1",
    "seq": 7,
}

HoldStatus = TypeAliasType("HoldStatus", Literal["pending", "captured", "released", "expired"])
HeldMinor = Annotated[int, Field(ge=1, le=AMOUNT_MAX)]


class NewHold(Request):
    """An amount to set aside: it lowers what is available and leaves the balance alone."""

    model_config = ConfigDict(json_schema_extra={"examples": [NEW_HOLD_EXAMPLE]})

    account_id: AccountId
    currency: Currency
    amount_minor: HeldMinor = Field(description="What to set aside, in minor units.")
    expires_at: ExpiryTime | None = Field(
        default=None,
        description="When it is released by itself: ahead of now, before the year 9999; never"
        " where left out.",
    )
    external_id: ExternalId | None = None
    metadata: Metadata | None = None


class NewCapture(Request):
    """The part of a hold to post. The rest is released."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"amount_minor": 200}, {}]})

    amount_minor: HeldMinor | None = Field(
        default=None, description="At most the amount held, which is the default."
    )


class NewRelease(Request):
    """The release of a hold. It has no members."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}]})


class Hold(BaseModel):
    """A hold in its current state: one event places it, another settles it."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                HOLD_EXAMPLE,
                {
                    **HOLD_EXAMPLE,
                    "status": "captured",
                    "captured_minor": 200,
                    "settled_at": "2026-12-02T09:00:00.000000Z",
                    "event_id": "019ca9a8-5a00-7000-8000-0009c0a8d5e1",
                    "seq": 9,
                },
            ]
        },
    )

    hold_id: UUID
    status: HoldStatus
    account_id: AccountId
    currency: CurrencyCode
    amount_minor: HeldMinor = Field(description="The amount that was set aside.")
    captured_minor: Annotated[int, Field(ge=0, le=AMOUNT_MAX)] = Field(
        description="The part that was posted, and so taken from the balance."
    )
    expires_at: datetime | None
    created_at: datetime
    settled_at: datetime | None = Field(description="Null while it is pending.")
    external_id: ExternalId | None
    metadata: Metadata
    event_id: UUID = Field(description="The hold's latest event.")
    seq: Seq = Field(description="That event's number.")


class HoldPage(BaseModel):
    """A page of holds, the newest first."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"examples": [{"data": [HOLD_EXAMPLE], "next_cursor": None}]}
    )

    data: list[Hold]
    next_cursor: Cursor | None
