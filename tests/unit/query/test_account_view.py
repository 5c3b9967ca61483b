"""Which statement an account's page shows, at a point in time."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

from freehold.ledger.statements import Period
from freehold_query.console.account_view import AccountParameters, AccountView
from freehold_query.readers import Reader

MARCH = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)


def view(**asked: Any) -> AccountView:
    """An account whose last known event is the seventh."""
    query = AccountParameters.model_validate(
        {name: at.isoformat() if isinstance(at, datetime) else at for name, at in asked.items()}
    )
    balance = cast("Any", {"currency": "USD", "last_seq": 7})
    return AccountView(cast("Reader", None), "cus_1", query, [balance], balance)


def period(since: datetime | None, until: datetime | None, by: Any = "transaction_time") -> Period:
    return Period("cus_1", "USD", by, since, until)


def test_a_statement_ends_with_the_time_that_is_looked_at() -> None:
    assert view().period == period(None, None)
    assert view(as_of=MARCH).period == period(None, MARCH + MICROSECOND)
    assert view(as_of=MARCH, to=MARCH - DAY).period == period(None, MARCH - DAY)
    assert view(as_of=MARCH, to=MARCH + DAY).period == period(None, MARCH + MICROSECOND)


def test_a_period_that_begins_later_is_empty() -> None:
    assert view(**{"as_of": MARCH, "from": MARCH + DAY}).period == period(MARCH + DAY, MARCH + DAY)


def test_what_was_known_ends_a_statement_by_its_last_event() -> None:
    assert view().through_seq is None
    assert view(known_at=MARCH).through_seq == 7
    assert view(known_at=MARCH).period == period(None, None)


def test_by_the_time_of_recording_only_what_was_known_counts() -> None:
    recorded = view(by="recorded_at", as_of=MARCH - DAY, known_at=MARCH)
    assert recorded.through_seq is None
    assert recorded.period == period(None, MARCH + MICROSECOND, "recorded_at")
