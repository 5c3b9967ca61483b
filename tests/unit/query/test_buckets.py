"""Hours, days and months in time zones, over every way that clocks are changed."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold_query.activity.buckets import Buckets, Unit

ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Europe/Amsterdam",
]

instants = st.integers(0, 140 * 366 * 24 * 3600 * 10**6).map(
    lambda microseconds: datetime(1900, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
)


def labels(unit: Unit, zone: str, first: str, last: str) -> list[str]:
    buckets = Buckets(unit, zone)
    boundaries = buckets.boundaries(
        datetime.fromisoformat(first), datetime.fromisoformat(last), 100
    )
    return [buckets.label(start) for start in boundaries[:-1]]


@pytest.mark.parametrize(
    ("unit", "zone", "first", "last", "expected"),
    [
        (
            "hour",
            "Europe/Berlin",
            "2025-10-25T23:59:59Z",
            "2025-10-26T02:00:00Z",
            [
                "2025-10-26T01:00:00+02:00",
                "2025-10-26T02:00:00+02:00",
                "2025-10-26T02:00:00+01:00",
                "2025-10-26T03:00:00+01:00",
            ],
        ),
        (
            "hour",
            "America/New_York",
            "2026-03-08T06:00:00Z",
            "2026-03-08T07:00:00Z",
            ["2026-03-08T01:00:00-05:00", "2026-03-08T03:00:00-04:00"],
        ),
        (
            # Clocks are turned back by half an hour: one hour has ninety minutes.
            "hour",
            "Australia/Lord_Howe",
            "2025-04-05T14:00:00Z",
            "2025-04-05T15:30:00Z",
            ["2025-04-06T01:00:00+11:00", "2025-04-06T02:00:00+10:30"],
        ),
        (
            # And on: another has thirty.
            "hour",
            "Australia/Lord_Howe",
            "2025-10-04T14:30:00Z",
            "2025-10-04T16:00:00Z",
            ["2025-10-05T01:00:00+10:30", "2025-10-05T02:30:00+11:00", "2025-10-05T03:00:00+11:00"],
        ),
        (
            # 30 December 2011 was left out.
            "day",
            "Pacific/Apia",
            "2011-12-29T12:00:00Z",
            "2011-12-30T10:00:00Z",
            ["2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00"],
        ),
        (
            # Midnight comes twice, or not at all.
            "day",
            "America/Havana",
            "2025-11-02T04:30:00Z",
            "2025-11-03T05:00:00Z",
            ["2025-11-02T00:00:00-04:00", "2025-11-03T00:00:00-05:00"],
        ),
        (
            "day",
            "Asia/Beirut",
            "2025-03-29T22:00:00Z",
            "2025-03-30T21:00:00Z",
            ["2025-03-30T01:00:00+03:00", "2025-03-31T00:00:00+03:00"],
        ),
        (
            "month",
            "Asia/Kolkata",
            "2025-12-31T18:29:59Z",
            "2025-12-31T18:30:00Z",
            ["2025-12-01T00:00:00+05:30", "2026-01-01T00:00:00+05:30"],
        ),
        (
            # An offset of 19 minutes and 32 seconds, which RFC 3339 cannot write.
            "day",
            "Europe/Amsterdam",
            "1936-12-31T23:40:28Z",
            "1936-12-31T23:40:28Z",
            ["1936-12-31T23:59:28+00:19"],
        ),
    ],
)
def test_buckets_begin_where_the_zones_clock_says(
    unit: Unit, zone: str, first: str, last: str, expected: list[str]
) -> None:
    assert labels(unit, zone, first, last) == expected


@given(instants, st.sampled_from(ZONES), st.sampled_from(["hour", "day", "month"]))
def test_an_instant_is_in_the_bucket_of_its_own_hour_day_and_month(
    instant: datetime, zone: str, unit: Unit
) -> None:
    buckets = Buckets(unit, zone)
    start, *_, end = buckets.boundaries(instant, instant, 1)
    assert start <= instant < end
    # Whether or not midnight exists, its date begins there, and another one is past before it.
    length = {"hour": 13, "day": 10, "month": 7}[unit]
    zone_info = ZoneInfo(zone)
    local, first = (each.astimezone(zone_info).isoformat() for each in (instant, start))
    before = (start - timedelta(microseconds=1)).astimezone(zone_info)
    assert first[:length] == local[:length]
    assert before.isoformat()[:length] != local[:length] or unit == "hour"


@given(instants, st.sampled_from(ZONES), st.sampled_from(["hour", "day", "month"]))
def test_buckets_follow_each_other(instant: datetime, zone: str, unit: Unit) -> None:
    buckets = Buckets(unit, zone)
    boundaries = buckets.boundaries(instant, instant + timedelta(days=2), 100)
    for start, end in pairwise(boundaries):
        assert start < end
        assert buckets.start(start) == start
        assert buckets.start(end - timedelta(microseconds=1)) == start
    assert len(set(map(buckets.label, boundaries))) == len(boundaries)


def test_no_more_buckets_are_given_than_asked_for() -> None:
    buckets = Buckets("hour", "UTC")
    first = datetime(2026, 3, 1, tzinfo=UTC)
    assert len(buckets.boundaries(first, first + timedelta(days=100), 7)) == 8
