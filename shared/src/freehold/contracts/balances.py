"""What query answers about state: balances, and how far they are behind the ledger."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

BALANCE_EXAMPLE: dict[str, Any] = {
    "currency": "USD",
    "current_balance_minor": 2000,
    "held_minor": 300,
    "available_minor": 1700,
    "event_count": 2,
    "last_ledger_event_id": "019ca9a8-5a00-7000-8000-0007c0a8d5e1",
    "last_seq": 7,
    "last_updated_time": "2026-03-01T12:00:00.254000Z",
}
ACCOUNT_BALANCE_EXAMPLE: dict[str, Any] = {"account_id": "cus_42", **BALANCE_EXAMPLE}


class Balance(BaseModel):
    """What an account has in one currency, and the last event that made it so."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [BALANCE_EXAMPLE]})

    currency: str
    current_balance_minor: int = Field(
        description="In minor units, and up to 38 digits: more than 64 bits can hold."
    )
    held_minor: int = Field(ge=0, description="What pending holds set aside.")
    available_minor: int = Field(description="current_balance_minor - held_minor.")
    event_count: int = Field(ge=1, description="Events of holds too: of placing and of settling.")
    last_ledger_event_id: UUID
    last_seq: int = Field(ge=1)
    last_updated_time: datetime


class AccountBalance(Balance):
    """A balance that says whose it is."""

    model_config = ConfigDict(
        frozen=True, json_schema_extra={"examples": [ACCOUNT_BALANCE_EXAMPLE]}
    )

    account_id: str


class AccountBalances(BaseModel):
    """All balances of one account, in order of currency."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={"examples": [{"account_id": "cus_42", "balances": [BALANCE_EXAMPLE]}]},
    )

    account_id: str
    balances: list[Balance] = Field(min_length=1)


class BalancePage(BaseModel):
    """A page of balances in order of account and currency."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={"examples": [{"data": [ACCOUNT_BALANCE_EXAMPLE], "next_cursor": None}]},
    )

    data: list[AccountBalance]
    next_cursor: str | None = Field(description="Asks for the next page; null on the last.")


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

    head_seq: int = Field(ge=0)
    projected_seq: int = Field(ge=0)
    events_behind: int = Field(ge=0)
    seconds_behind: float = Field(
        ge=0, description="The age of the oldest event that is not projected yet."
    )
