"""Balanced transactions: events that are appended together and sum to zero in each currency."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, FailFast, Field
from pydantic.json_schema import SkipJsonSchema

from freehold.contracts.events import LEDGER_EVENT_EXAMPLE, LedgerEvent, NewEvent, Request
from freehold.contracts.fields import TransactionTime

LEGS_MAX = 100

_FIRST_ID = LEDGER_EVENT_EXAMPLE["event_id"]
_SECOND_ID = "019ca9a8-5a00-7000-8000-0008c0a8d5e1"
_THIRD_ID = "019ca9a8-5a00-7000-8000-0009c0a8d5e1"
_FOURTH_ID = "019ca9a8-5a00-7000-8000-000ac0a8d5e1"

_NEW_TRANSACTION_EXAMPLE: dict[str, Any] = {
    "legs": [
        {
            "account_id": "cus_42",
            "event_type": "PAYOUT",
            "amount_minor": -2000,
            "currency": "USD",
            "external_id": "po_1",
        },
        {"account_id": "bank", "event_type": "PAYOUT", "amount_minor": 2000, "currency": "USD"},
    ],
    "transaction_time": "2026-03-01T12:00:00Z",
}
_LEG_EXAMPLE: dict[str, Any] = {
    **LEDGER_EVENT_EXAMPLE,
    "event_type": "PAYOUT",
    "external_id": None,
    "metadata": {},
}
_LEGS_EXAMPLE: list[dict[str, Any]] = [
    {**_LEG_EXAMPLE, "amount_minor": -2000, "external_id": "po_1", "transaction_id": _FIRST_ID},
    {
        **_LEG_EXAMPLE,
        "event_id": _SECOND_ID,
        "seq": 8,
        "account_id": "bank",
        "transaction_id": _FIRST_ID,
    },
]
_REVERSED_EXAMPLE: list[dict[str, Any]] = [
    {
        **leg,
        "event_id": event_id,
        "seq": seq,
        "event_type": "REVERSAL",
        "amount_minor": -leg["amount_minor"],
        "external_id": None,
        "transaction_id": _THIRD_ID,
        "reverses_event_id": leg["event_id"],
    }
    for leg, event_id, seq in zip(_LEGS_EXAMPLE, (_THIRD_ID, _FOURTH_ID), (9, 10), strict=True)
]


_APPENDED_EXAMPLE: dict[str, Any] = {"transaction_id": _FIRST_ID, "events": _LEGS_EXAMPLE}
_REVERSAL_EXAMPLE: dict[str, Any] = {
    "transaction_id": _THIRD_ID,
    "reverses_transaction_id": _FIRST_ID,
    "events": _REVERSED_EXAMPLE,
}


def _balanced(legs: list[NewEvent]) -> list[NewEvent]:
    sums: dict[str, int] = {}
    for leg in legs:
        sums[leg.currency] = sums.get(leg.currency, 0) + leg.amount_minor
    for currency, amount_minor in sorted(sums.items()):
        if amount_minor:
            raise ValueError(
                f"must sum to zero in each currency, and in {currency} sum to {amount_minor}"
            )
    return legs


class NewTransaction(Request):
    """Events to append together, all or none, whose amounts sum to zero."""

    model_config = ConfigDict(json_schema_extra={"examples": [_NEW_TRANSACTION_EXAMPLE]})

    legs: Annotated[
        list[NewEvent],
        FailFast(),
        Field(min_length=2, max_length=LEGS_MAX),
        AfterValidator(_balanced),
    ] = Field(description="Their amounts sum to zero in each currency.")
    transaction_time: TransactionTime | None = Field(
        default=None, description="For legs without a time of their own."
    )


class AppendedTransaction(BaseModel):
    """A transaction as the ledger holds it. It can only be reversed as a whole."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"examples": [_APPENDED_EXAMPLE, _REVERSAL_EXAMPLE]}
    )

    transaction_id: UUID = Field(description="The event_id of its first leg.")
    reverses_transaction_id: UUID | SkipJsonSchema[None] = Field(
        default=None, description="Only in reversals."
    )
    events: list[LedgerEvent] = Field(min_length=2, max_length=LEGS_MAX)
