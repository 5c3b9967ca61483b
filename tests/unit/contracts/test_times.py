"""Times in answers."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from freehold.contracts.times import rfc_3339


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(0), "GMT")])
def test_times_have_microseconds_and_a_z(zone: timezone) -> None:
    assert rfc_3339(datetime(2026, 3, 1, 12, tzinfo=zone)) == "2026-03-01T12:00:00.000000Z"
