"""What the chart of activity draws."""

from datetime import UTC, datetime, timedelta
from typing import Any

from freehold_query.activity.buckets import Buckets
from freehold_query.console.activity_chart import activity_chart, activity_lines

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)


def row(event_type: str, count: int = 1, currency: str = "USD", **more: int) -> Any:
    return {
        "currency": currency,
        "event_type": event_type,
        "event_count": count,
        "amount_in_minor": 0,
        "amount_out_minor": 0,
        **more,
    }


def test_a_line_knows_its_bucket() -> None:
    buckets = Buckets("day", "Europe/Berlin")
    # Clocks were turned forward: the day had 23 hours.
    (line,) = activity_lines([(buckets.start(NOON), row("CHARGE", amount_out_minor=7))], buckets)
    assert (line.label, line.end - line.start) == ("2026-03-29", timedelta(hours=23))
    assert line.net_minor == -7


def test_rare_types_share_the_last_colour() -> None:
    rows = [(NOON, row(f"TYPE_{number}", 10 - number)) for number in range(8)]
    chart = activity_chart(activity_lines(rows, Buckets("hour", "UTC")), "events", UTC)
    assert chart is not None
    assert chart.names == ("TYPE_0", "TYPE_1", "TYPE_2", "TYPE_3", "TYPE_4", "others")
    assert chart.rows == [("2026-03-29 12:00 UTC", "10", "9", "8", "7", "6", "12")]


def test_amounts_of_several_currencies_are_not_drawn() -> None:
    rows = [(NOON, row("CHARGE", currency=currency)) for currency in ("JPY", "USD")]
    lines = activity_lines(rows, Buckets("hour", "UTC"))
    assert activity_chart(lines, "net", UTC) is None
    assert activity_chart(lines, "events", UTC) is not None
    (jpy, _) = lines
    amounts = activity_chart([jpy], "in", UTC)
    assert amounts is not None
    assert amounts.title == "Amounts in, JPY"
