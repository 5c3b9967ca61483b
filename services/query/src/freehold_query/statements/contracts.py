"""What is asked for a statement, and what it answers in JSON."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from freehold.contracts.events import LEDGER_EVENT_EXAMPLE, LedgerEvent
from freehold.contracts.fields import AccountId, Currency
from freehold.contracts.values import CurrencyCode, Cursor, Exponent, SumMinor, UnsignedSumMinor
from freehold.http.parameters import PageQuery
from freehold.ledger.statements import StatementTime
from freehold_query.parameters import PeriodQuery

LINE_EXAMPLE: dict[str, Any] = {**LEDGER_EVENT_EXAMPLE, "balance_minor": 2500}


class StatementQuery(PageQuery, PeriodQuery):
    """Parameters of a statement."""

    currency: Currency
    by: StatementTime = Field(
        default="transaction_time",
        description="The time that `from`, `to` and the order are about. At the same time, `seq`"
        " decides the order.",
    )
    order: Literal["asc", "desc"] = Field(
        default="asc", description="`desc` lists the newest line first."
    )


class StatementLine(LedgerEvent):
    """An event that moved the balance, and what the balance was then."""

    model_config = ConfigDict(frozen=True, json_schema_extra={"examples": [LINE_EXAMPLE]})

    balance_minor: SumMinor = Field(
        description="The opening balance and all lines up to this one, in order of time, whichever"
        " order is asked for."
    )


class StatementPage(BaseModel):
    """A page of a statement. Balances and totals are of the whole statement."""

    model_config = ConfigDict(
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "account_id": "cus_42",
                    "currency": "USD",
                    "exponent": 2,
                    "from": "2026-03-01T00:00:00.000000Z",
                    "to": None,
                    "by": "transaction_time",
                    "opening_balance_minor": 500,
                    "closing_balance_minor": 2500,
                    "total_in_minor": 2000,
                    "total_out_minor": 0,
                    "data": [LINE_EXAMPLE],
                    "next_cursor": None,
                }
            ]
        },
    )

    account_id: AccountId
    currency: CurrencyCode
    exponent: Exponent = Field(description="Minor units have this many decimals: 2 for USD.")
    since: datetime | None = Field(alias="from")
    until: datetime | None = Field(alias="to")
    by: StatementTime
    opening_balance_minor: SumMinor
    closing_balance_minor: SumMinor = Field(description="opening + total_in - total_out.")
    total_in_minor: UnsignedSumMinor = Field(description="The sum of the positive amounts.")
    total_out_minor: UnsignedSumMinor = Field(
        description="The sum of the negative amounts, unsigned."
    )
    data: list[StatementLine]
    next_cursor: Cursor | None = Field(
        description="Asks for the next page, of the same state of the ledger; null on the last."
    )
