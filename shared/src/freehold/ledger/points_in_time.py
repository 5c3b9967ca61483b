"""Typed calls of what the books said at a point in time.

Each is one statement on one snapshot, and includes every event committed before the call.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from freehold.ledger.client import ALL_BALANCES, BalanceFilters, Connection, Record, list_arguments


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in both times; both inclusive, to the microsecond."""

    as_of: datetime | None = None
    """Only events that happened by then (transaction_time); None for all."""
    known_at: datetime | None = None
    """Only events that the ledger had by then (recorded_at); None for all."""


NOW = Moment()
"""No point in the past: what the state says."""


async def balances_at(
    connection: Connection, account_ids: Sequence[str], moment: Moment
) -> list[Record]:
    """Give what accounts had, in each currency that they have ever had."""
    return await connection.fetch(
        "SELECT * FROM balances_at($1, $2, $3)", list(account_ids), moment.as_of, moment.known_at
    )


async def list_balances_at(
    connection: Connection,
    moment: Moment,
    filters: BalanceFilters = ALL_BALANCES,
    *,
    after: tuple[str, str] | None = None,
    rows_max: int,
) -> tuple[list[Record], Record | None]:
    """List what accounts had.

    The call ends after about a second. If it was not done by then, the second part of the answer is
    the last row that it has looked at.
    """
    rows = await connection.fetch(
        "SELECT * FROM list_balances_at("
        "$1, $2, $3::text::numeric, $4::text::numeric, $5, $6, $7, $8, $9)",
        *list_arguments(filters, after, rows_max),
        moment.as_of,
        moment.known_at,
    )
    stopped_at = rows.pop() if rows and not rows[-1]["fits"] else None
    return rows, stopped_at


async def totals(
    connection: Connection, moment: Moment, *, account_prefix: str, currency: str | None
) -> list[Record]:
    """Sum the balances of all accounts with a prefix, by currency: as projected, or at a moment."""
    return await connection.fetch(
        "SELECT * FROM totals($1, $2, $3, $4)",
        account_prefix,
        currency,
        moment.as_of,
        moment.known_at,
    )


async def balances_over_time(
    connection: Connection,
    account_id: str,
    currency: str,
    times: Sequence[datetime],
    *,
    known_at: datetime | None = None,
) -> list[int]:
    """Give what an account had in a currency at each of many times, which rise, in minor units.

    It costs about as much as two moments, and more the more events were backdated.
    """
    rows = await connection.fetch(
        "SELECT * FROM balances_over_time($1, $2, $3, $4)",
        account_id,
        currency,
        list(times),
        known_at,
    )
    return [int(row["balance_minor"]) for row in rows]


async def account_span(connection: Connection, account_id: str) -> tuple[datetime, datetime] | None:
    """Give the first and the last transaction_time of an account; None if it has no event."""
    row = await connection.fetchrow("SELECT * FROM account_span($1)", account_id)
    if row is None or row["first_time"] is None:
        return None
    return row["first_time"], row["last_time"]
