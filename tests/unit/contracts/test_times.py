"""Times in answers and in query strings."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import TypeAdapter, ValidationError

from freehold.contracts.fields import PointInTime
from freehold.contracts.times import rfc_3339


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(0), "GMT")])
def test_times_have_microseconds_and_a_z(zone: timezone) -> None:
    assert rfc_3339(datetime(2026, 3, 1, 12, tzinfo=zone)) == "2026-03-01T12:00:00.000000Z"


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00+00:00"),
        ("2026-03-01t12:00:00.25z", "2026-03-01T12:00:00.250000+00:00"),
        ("2026-03-01T16:00:00+04:00", "2026-03-01T12:00:00+00:00"),
        # What an unescaped "+" in a query string comes to.
        ("2026-03-01T16:00:00 04:00", "2026-03-01T12:00:00+00:00"),
        ("2026-02-28T22:14:59.999999-13:45", "2026-03-01T11:59:59.999999+00:00"),
        ("2026-03-01T12:00:00.1234569Z", "2026-03-01T12:00:00.123456+00:00"),
        ("1900-01-01T00:00:00Z", "1900-01-01T00:00:00+00:00"),
        ("9998-12-31T23:59:59.999999Z", "9998-12-31T23:59:59.999999+00:00"),
    ],
)
def test_a_point_in_time_is_read_in_any_offset(text: str, instant: str) -> None:
    assert TypeAdapter(PointInTime).validate_python(text).isoformat() == instant


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2026-03-01", "2026-03-01T12:00:00", "2026-03-01 12:00:00Z", "1772366400"),
        *("2026-02-29T12:00:00Z", "2026-03-01T24:00:01Z", "2026-03-01T12:00:00+24:00"),
        *("2026-03-01T12:00:00  04:00", "0001-01-01T00:00:00+04:00", "9999-01-01T00:00:00Z"),
    ],
)
def test_what_is_no_point_in_time_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(PointInTime).validate_python(text)
