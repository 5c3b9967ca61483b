"""Typed calls that read activity: sums of events by transaction_time, currency and type.

Every call is one statement, and so one transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from freehold.ledger.client import Connection, Record


@dataclass(frozen=True, slots=True)
class ActivityFilters:
    """Which events are summed up; None stands for no condition."""

    account_id: str | None = None
    account_prefix: str | None = None
    currency: str | None = None
    event_type: str | None = None


async def activity(
    connection: Connection, boundaries: Sequence[datetime], filters: ActivityFilters
) -> list[Record]:
    """Sum up the events between each boundary and the next, counted from 1.

    Every event that was committed before the call is included. Buckets without events are left
    out; the others come in order of bucket, currency and event type.
    """
    return await connection.fetch(
        "SELECT * FROM activity($1, $2, $3, $4, $5)",
        list(boundaries),
        filters.account_id,
        filters.account_prefix,
        filters.currency,
        filters.event_type,
    )


async def activity_span(
    connection: Connection, from_time: datetime, to_time: datetime, filters: ActivityFilters
) -> tuple[datetime, datetime] | None:
    """Say between which times, both inclusive, there may be activity; None where there is none.

    Currency and event type are not looked at.
    """
    row = await connection.fetchrow(
        "SELECT * FROM activity_span($1, $2, $3, $4)",
        from_time,
        to_time,
        filters.account_id,
        filters.account_prefix,
    )
    if row is None or row["first_time"] is None:
        return None
    return row["first_time"], row["last_time"]
