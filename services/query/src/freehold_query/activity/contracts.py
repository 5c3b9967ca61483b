"""What is asked for activity, and what it answers."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from freehold.contracts.excerpts import excerpt
from freehold.contracts.fields import AccountId, Currency, EventType
from freehold.contracts.values import (
    Count,
    CurrencyCode,
    Cursor,
    Exponent,
    SumMinor,
    UnsignedSumMinor,
)
from freehold.http.parameters import PageQuery
from freehold_query.activity.buckets import Unit, time_zones
from freehold_query.parameters import PeriodQuery

ACTIVITY_EXAMPLE: dict[str, Any] = {
    "bucket": "2026-03-01T00:00:00+01:00",
    "currency": "USD",
    "exponent": 2,
    "event_type": "CHARGE",
    "event_count": 2,
    "amount_in_minor": 2300,
    "amount_out_minor": 0,
    "net_minor": 2300,
}


def _time_zone(name: str) -> str:
    if name not in time_zones():
        raise ValueError(
            "must be a time zone of the IANA database, such as Europe/Berlin, and was"
            f" {excerpt(name)}"
        )
    return name


TimeZone = Annotated[str, AfterValidator(_time_zone)]
"""An IANA name."""


class ActivityQuery(PageQuery, PeriodQuery):
    """Parameters of activity."""

    bucket: Unit
    time_zone: TimeZone = Field(
        default="UTC",
        description="An IANA name, as `Europe/Berlin`: when hours, days and months begin.",
    )
    currency: Currency | None = None
    event_type: EventType | None = Field(default=None, description="Only events of this type.")
    account_id: AccountId | None = Field(default=None, description="Only events of this account.")


class Activity(BaseModel):
    """What the events of one type in one currency add up to in an hour, a day or a month."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [ACTIVITY_EXAMPLE]})

    bucket: datetime = Field(description="When it begins, with the time zone's offset then.")
    currency: CurrencyCode
    exponent: Exponent = Field(description="How many decimals the currency has.")
    event_type: EventType
    event_count: Count = Field(description="Events of holds too, which move no amount.")
    amount_in_minor: UnsignedSumMinor = Field(description="The sum of positive amounts.")
    amount_out_minor: UnsignedSumMinor = Field(
        description="The sum of negative amounts, without sign."
    )
    net_minor: SumMinor = Field(description="amount_in_minor - amount_out_minor.")


class ActivityList(BaseModel):
    """A page of activity in order of bucket, currency and event type."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={"examples": [{"data": [ACTIVITY_EXAMPLE], "next_cursor": None}]},
    )

    data: list[Activity]
    next_cursor: Cursor | None = Field(description="Asks for the next page; null on the last.")
