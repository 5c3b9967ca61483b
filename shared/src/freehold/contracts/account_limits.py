"""Limits on accounts: how low what is available may be taken."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from freehold.contracts.events import Request
from freehold.contracts.fields import AMOUNT_MAX, AMOUNT_MIN, Currency

_LIMIT_EXAMPLE: dict[str, Any] = {"currency": "USD", "min_balance_minor": 0}


class NewAccountLimit(Request):
    """How low an account may be taken in one currency."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [_LIMIT_EXAMPLE, {"currency": "USD", "min_balance_minor": None}]
        }
    )

    currency: Currency
    min_balance_minor: Annotated[int, Field(ge=AMOUNT_MIN, le=AMOUNT_MAX)] | None = Field(
        description="What must be left of the balance less what is held; null lifts the limit."
    )


class AccountLimit(BaseModel):
    """The limit of an account in one currency."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [_LIMIT_EXAMPLE]})

    currency: str
    min_balance_minor: int


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

    account_id: str
    limits: list[AccountLimit]
