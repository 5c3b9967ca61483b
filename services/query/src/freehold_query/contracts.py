"""What query answers, and takes in bodies; activity and statements have their own contracts."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import SkipJsonSchema

from freehold.contracts.events import LEDGER_EVENT_EXAMPLE, LedgerEvent, Request
from freehold.contracts.fields import AccountId, AccountPrefix, MetadataKey
from freehold.contracts.values import (
    Count,
    CurrencyCode,
    Cursor,
    Exponent,
    PostedMinor,
    SumMinor,
    UnsignedSumMinor,
)

BALANCE_EXAMPLE: dict[str, Any] = {
    "currency": "USD",
    "exponent": 2,
    "current_balance_minor": 2000,
    "held_minor": 300,
    "available_minor": 1700,
    "event_count": 2,
    "last_ledger_event_id": "019ca9a8-5a00-7000-8000-0007c0a8d5e1",
    "last_seq": 7,
    "last_updated_time": "2026-03-01T12:00:00.254000Z",
}
ACCOUNT_BALANCE_EXAMPLE: dict[str, Any] = {"account_id": "cus_42", **BALANCE_EXAMPLE}

TOTAL_EXAMPLE: dict[str, Any] = {
    "currency": "USD",
    "exponent": 2,
    "balance_minor": 125000,
    "account_count": 42,
    "event_count": 310,
}


REFUNDS_SHOWN_MAX = 100
_REFUND_EXAMPLE: dict[str, Any] = {
    "event_id": "019ca9a8-5a00-7000-8000-0009c0a8d5e1",
    "amount_minor": -500,
    "reversed_by_event_id": None,
}
_EVENT_EXAMPLE: dict[str, Any] = {
    **LEDGER_EVENT_EXAMPLE,
    "reversed_by_event_id": None,
    "refunded_minor": 500,
    "refunds": [_REFUND_EXAMPLE],
}


class Refund(BaseModel):
    """An event that refunds another one."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_REFUND_EXAMPLE]})

    event_id: UUID
    amount_minor: PostedMinor
    reversed_by_event_id: UUID | None = Field(
        description="The event that undoes the refund, which then does not count unless that event"
        " is reversed itself."
    )


class EventWithUndoing(LedgerEvent):
    """An event, and what undoes it: its reversal and its refunds."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_EVENT_EXAMPLE]})

    reversed_by_event_id: UUID | None = Field(
        description="Its reversal; null where it has none. If that event has a reversal itself,"
        " this one stands again."
    )
    refunded_minor: UnsignedSumMinor = Field(
        description="What all its refunds have given back, without the sign, and without the"
        " refunds that are undone."
    )
    refunds: list[Refund] = Field(
        max_length=REFUNDS_SHOWN_MAX,
        description=f"The first {REFUNDS_SHOWN_MAX}; `GET /v1/events?refunds_event_id=` lists all.",
    )


class Balance(BaseModel):
    """What an account has in one currency, and the last event that made it so."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [BALANCE_EXAMPLE]})

    currency: CurrencyCode
    exponent: Exponent = Field(
        description="The currency's decimals (ISO 4217): 2 where minor units are cents."
    )
    current_balance_minor: SumMinor = Field(
        description="In minor units, and up to 38 digits: more than 64 bits can hold."
    )
    held_minor: UnsignedSumMinor | SkipJsonSchema[None] = Field(
        default=None, description="What pending holds set aside; only of the present."
    )
    available_minor: SumMinor | SkipJsonSchema[None] = Field(
        default=None, description="current_balance_minor - held_minor; only of the present."
    )
    event_count: Count = Field(
        description="Events of holds too: of placing and of settling. 0 before the first event."
    )
    last_ledger_event_id: UUID | None
    last_seq: Count
    last_updated_time: datetime | None = Field(
        description="When the balance was projected, or at a point in time, when its last event"
        " was recorded."
    )


class AccountBalance(Balance):
    """A balance that says whose it is."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"examples": [ACCOUNT_BALANCE_EXAMPLE]}
    )

    account_id: AccountId


class AccountBalances(BaseModel):
    """All balances of one account, in order of currency."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={"examples": [{"account_id": "cus_42", "balances": [BALANCE_EXAMPLE]}]},
    )

    account_id: AccountId
    balances: list[Balance] = Field(min_length=1)


class BalancePage(BaseModel):
    """A page of balances in order of account and currency."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={"examples": [{"data": [ACCOUNT_BALANCE_EXAMPLE], "next_cursor": None}]},
    )

    data: list[AccountBalance]
    next_cursor: Cursor | None = Field(description="Asks for the next page; null on the last.")


class Total(BaseModel):
    """What all accounts of a branch have together in one currency."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [TOTAL_EXAMPLE]})

    currency: CurrencyCode
    exponent: Exponent = Field(
        description="The currency's decimals (ISO 4217): 2 where minor units are cents."
    )
    balance_minor: SumMinor = Field(
        description="In minor units; may be more than 64 bits can hold."
    )
    account_count: Count = Field(description="Accounts with an event by then.")
    event_count: Count


class Totals(BaseModel):
    """The totals of a branch, in order of currency: every one that it has ever had."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"examples": [{"data": [TOTAL_EXAMPLE]}]}
    )

    data: list[Total]


class SearchableMetadata(Request):
    """The metadata keys by which events are searched."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"keys": ["order_id"]}]})

    keys: list[MetadataKey] = Field(
        max_length=10, description="In answers in their order, each once."
    )


class Lag(BaseModel):
    """How far the state is behind the ledger."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {"head_seq": 9, "projected_seq": 7, "events_behind": 2, "seconds_behind": 0.0031}
            ]
        },
    )

    head_seq: Count
    projected_seq: Count
    events_behind: Count
    seconds_behind: float = Field(
        ge=0, description="The age of the oldest event that is not projected yet."
    )


class NewReadToken(Request):
    """What a token for a browser may read, and for how long."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"account_prefix": "customer:42:", "expires_in_s": 900}, {}]
        }
    )

    account_prefix: AccountPrefix = ""
    expires_in_s: int = Field(
        default=900, ge=1, le=3600, description="For how many seconds; not longer than the API key."
    )


class IssuedReadToken(BaseModel):
    """A token that reads, and does nothing else. It is sent as an API key is."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [{"token": "eyJh…", "expires_at": "2026-03-01T12:15:00.000000Z"}]
        },
    )

    token: str
    expires_at: datetime
