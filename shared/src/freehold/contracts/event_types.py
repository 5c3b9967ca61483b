"""Event types: what a tenant declares of the events that their ledger takes."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from freehold.contracts.events import Request
from freehold.contracts.fields import MetadataValue

_DECLARED_EXAMPLE: dict[str, Any] = {
    "event_type": "CHARGE",
    "sign": "positive",
    "description": "A customer is charged.",
}

Sign = Literal["positive", "negative", "any"]


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
    description: MetadataValue = ""


class DeclaredEventType(BaseModel):
    """An event type that is declared."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_DECLARED_EXAMPLE]})

    event_type: str
    sign: Sign
    description: str


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
    next_cursor: str | None
