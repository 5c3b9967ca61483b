"""Typed calls that search the ledger's events.

Every call is one statement, and so one transaction.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import orjson

from freehold.ledger.client import Connection, Record


@dataclass(frozen=True, slots=True)
class EventFilters:
    """What events must have. All conditions hold together; None stands for no condition."""

    account_id: str | None = None
    account_prefix: str | None = None
    external_id: str | None = None
    transaction_id: UUID | None = None
    refunds_event_id: UUID | None = None
    event_type: str | None = None
    currency: str | None = None
    from_time: datetime | None = None
    """The first transaction_time."""
    to_time: datetime | None = None
    """The first transaction_time that is too late."""
    metadata: Mapping[str, str] | None = None


ALL_EVENTS = EventFilters()


async def events(
    connection: Connection,
    filters: EventFilters = ALL_EVENTS,
    *,
    descending: bool = False,
    after: UUID | None = None,
    rows_max: int,
    patience_s: float = 0.3,
) -> list[Record]:
    """List events in ledger order or against it, after a given one.

    A search that takes longer than its patience ends early. Its last row then has the `event_id`
    that it got to, and no `seq` or anything else.

    Args:
        connection: To the tenant's database.
        filters: What the events must have.
        descending: Against ledger order.
        after: The event that the list goes on after.
        rows_max: How many events to answer at most.
        patience_s: After how long to end early, in seconds; a search may take about half a second
            more.
    """
    return await connection.fetch(
        "SELECT * FROM events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::jsonb, $11, $12, $13,"
        " make_interval(secs => $14))",
        filters.account_id,
        filters.account_prefix,
        filters.external_id,
        filters.transaction_id,
        filters.refunds_event_id,
        filters.event_type,
        filters.currency,
        filters.from_time,
        filters.to_time,
        orjson.dumps(filters.metadata).decode() if filters.metadata else None,
        descending,
        after,
        rows_max,
        patience_s,
    )
