"""The chart of an account's balance over time, and the times that its slider leads to."""

from datetime import datetime, timedelta
from typing import NamedTuple

from freehold.console.charts import Chart, step_chart
from freehold.contracts.currency import MINOR_UNIT_EXPONENTS
from freehold.ledger.client import Connection
from freehold.ledger.points_in_time import account_span, balances_over_time
from freehold_query.console.account_view import AccountView

_POINTS = 200
"""More than one in three or four pixels would not be seen."""
_SHORTEST = timedelta(seconds=1)


class Course(NamedTuple):
    """How a balance went, from the account's first event on."""

    first_time: datetime
    chart: Chart | None
    """None where the period ends before the first event."""


async def read_course(connection: Connection, view: AccountView, now: datetime) -> Course:
    """Read how the balance went, in the period that is asked for or until now."""
    # Whoever asks has seen an event.
    first_time, last_time = await account_span(connection, view.account_id) or (now, now)
    query = view.query
    first = max(first_time, query.from_time or first_time)
    last = query.to_time or max(now, last_time, first + _SHORTEST)
    if last <= first:
        return Course(first_time, None)
    times = [first + place * (last - first) / (_POINTS - 1) for place in range(_POINTS)]
    values = await balances_over_time(
        connection, view.account_id, view.currency, times, known_at=query.known_at
    )
    chart = step_chart(
        f"Balance in {view.currency}",
        list(zip(times, values, strict=True)),
        until=last,
        exponent=MINOR_UNIT_EXPONENTS[view.currency],
        mark=query.as_of,
    )
    return Course(first_time, chart)
