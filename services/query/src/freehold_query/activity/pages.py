"""Pages of activity: buckets are read some at a time, from the first one with an event on.

The database sums up what lies between boundaries, and knows nothing of time zones.
"""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from freehold.contracts.fields import CALENDAR_END, EARLIEST
from freehold.ledger.activity import ActivityFilters, activity, activity_span
from freehold.ledger.client import Connection, Record
from freehold_query.activity.buckets import Buckets

_BUCKETS_MAX = 4096
PATIENCE_S = 1.0
"""After which time a page ends early."""


class Position(NamedTuple):
    """A place in the list: from when a bucket is asked for, a currency and an event type."""

    start: datetime
    currency: str = ""
    event_type: str = ""


@dataclass(frozen=True, slots=True)
class ActivityQuestion:
    """What is asked for: which events, in which buckets, from a first time until before another."""

    filters: ActivityFilters
    buckets: Buckets
    from_time: datetime | None = None
    to_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class ActivityPage:
    """Sums, each with the start of its bucket, and the place after which another page follows."""

    lines: list[tuple[datetime, Record]]
    reached: Position | None


async def read_page(
    connection: Connection, question: ActivityQuestion, *, after: Position | None, lines_max: int
) -> ActivityPage:
    """Read a page in order of bucket, currency and event type.

    Args:
        connection: To the tenant's database.
        question: What is asked for.
        after: Where the page before ended.
        lines_max: How many lines to answer at most.
    """
    patient_until = time.monotonic() + PATIENCE_S
    starts = question.from_time or EARLIEST
    ends = question.to_time or CALENDAR_END
    position = after or Position(EARLIEST)
    buckets_max = lines_max
    lines: list[tuple[datetime, Record]] = []
    while span := await activity_span(
        connection, max(position.start, starts), ends, question.filters
    ):
        boundaries = question.buckets.boundaries(*span, buckets_max)
        edges = [max(boundaries[0], starts), *boundaries[1:-1], min(boundaries[-1], ends)]
        for row in await activity(connection, edges, question.filters):
            bucket = row["bucket"] - 1
            # Of the edge: a bucket may begin before the earliest time that a cursor can name.
            line = Position(edges[bucket], row["currency"], row["event_type"])
            if after is not None and line <= after:
                continue
            if len(lines) == lines_max:
                return ActivityPage(lines, position)
            lines.append((boundaries[bucket], row))
            position = line
        position = Position(boundaries[-1])
        if time.monotonic() > patient_until:
            return ActivityPage(lines, position)
        buckets_max = min(4 * buckets_max, _BUCKETS_MAX)
    return ActivityPage(lines, None)
