"""The tenant's rules as ingest takes and answers them: event types and limits on accounts."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from typing_extensions import TypeAliasType

from freehold.contracts.events import Request
from freehold.contracts.fields import (
    AccountId,
    Currency,
    EventType,
    MetadataValue,
    readable_or_empty,
)
from freehold.contracts.values import CurrencyCode, Cursor, PostedMinor

_DECLARED_EXAMPLE: dict[str, Any] = {
    "event_type": "CHARGE",
    "sign": "positive",
    "description": "A customer is charged.",
}

_LIMIT_EXAMPLE: dict[str, Any] = {"currency": "USD", "min_balance_minor": 0}

Sign = TypeAliasType("Sign", Literal["positive", "negative", "any"])


class NewEventType(Request):
    """What is declared of an event type, in place of what may have been declared before."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"sign": "positive", "description": "A customer is charged."},
                {"sign": "any"},
            ]
        }
    )

    sign: Sign = Field(description="Which amounts its events may have; others are answered 422.")
    description: Annotated[MetadataValue, AfterValidator(readable_or_empty)] = ""


class DeclaredEventType(BaseModel):
    """An event type that is declared."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_DECLARED_EXAMPLE]})

    event_type: EventType
    sign: Sign
    description: MetadataValue


class EventTypeSwitch(Request):
    """Whether event types that are not declared are refused. They are taken unless it says so."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"closed": True}]})

    closed: bool


class EventTypeList(BaseModel):
    """Declared event types in order of their names, and whether others are refused."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [{"closed": True, "data": [_DECLARED_EXAMPLE], "next_cursor": None}]
        },
    )

    closed: bool
    data: list[DeclaredEventType]
    next_cursor: Cursor | None


class NewAccountLimit(Request):
    """How low an account may be taken in one currency."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [_LIMIT_EXAMPLE, {"currency": "USD", "min_balance_minor": None}]
        }
    )

    currency: Currency
    min_balance_minor: PostedMinor | None = Field(
        description="What must be left of the balance less what is held; null lifts the limit."
    )


class AccountLimit(BaseModel):
    """The limit of an account in one currency."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_LIMIT_EXAMPLE]})

    currency: CurrencyCode
    min_balance_minor: PostedMinor


class AccountLimits(BaseModel):
    """The limits of an account in order of currency; none where none is set."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {"account_id": "cus_42", "limits": [_LIMIT_EXAMPLE]},
                {"account_id": "cus_42", "limits": []},
            ]
        },
    )

    account_id: AccountId
    limits: list[AccountLimit]
