"""Statements: what moved an account's balance in a period, with the balances before and after.

Events that only place or let go of a hold move nothing, and are no lines of a statement.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from typing_extensions import TypeAliasType

from freehold.ledger.client import Connection, Record

StatementTime = TypeAliasType("StatementTime", Literal["transaction_time", "recorded_at"])
"""The time of events that a statement goes by."""


@dataclass(frozen=True, slots=True)
class Period:
    """A period of an account in one currency."""

    account_id: str
    currency: str
    by: StatementTime
    """The time that the period and the order of lines are of. At the same time, seq decides."""
    since: datetime | None
    """None for the ledger's beginning."""
    until: datetime | None
    """The first instant after it; None for no end."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The balances and sums of a statement, in minor units: opening + in - out = closing."""

    opening_balance_minor: int
    total_in_minor: int
    total_out_minor: int
    closing_balance_minor: int
    through_seq: int
    """The state of the ledger that they are of: its events up to this seq."""


async def statement_totals(
    connection: Connection, period: Period, *, through_seq: int | None
) -> Totals | None:
    """Sum up a period; None if the account has no event in the currency.

    Args:
        connection: Leads to the tenant's ledger.
        period: What to sum up.
        through_seq: The state of the ledger; None for the newest.
    """
    row = await connection.fetchrow(
        "SELECT * FROM statement_totals($1, $2, $3, $4, $5, $6)", *_arguments(period), through_seq
    )
    return None if row is None else Totals(*map(int, row))


async def statement_lines(
    connection: Connection,
    period: Period,
    *,
    through_seq: int,
    after: tuple[datetime, int] | None,
    newest_first: bool,
    rows_max: int,
) -> list[Record]:
    """List lines of a period: events, each with `balance_minor`, the balance after it.

    Args:
        connection: Leads to the tenant's ledger.
        period: Which lines.
        through_seq: The state of the ledger.
        after: The time and the seq of the line that these follow; None for the first ones.
        newest_first: Whether the order is from the newest to the oldest.
        rows_max: How many to give at most.
    """
    return await connection.fetch(
        "SELECT (l.line).*, l.balance_minor"
        " FROM statement_lines($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) AS l",
        *_arguments(period),
        through_seq,
        *(after or (None, None)),
        newest_first,
        rows_max,
    )


def _arguments(period: Period) -> tuple[object, ...]:
    return period.account_id, period.currency, period.by, period.since, period.until
