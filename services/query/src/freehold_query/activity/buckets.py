"""Buckets: the hours, days and months of a time zone, cut out of UTC.

A bucket begins when the zone's clock first shows its hour, day or month, and ends where the next
one begins: there is no gap and no overlap. When clocks are turned back by an hour, the hour comes
twice, in two buckets. A day may have 23 hours, and one that the zone left out has no bucket.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import Literal
from zoneinfo import ZoneInfo, available_timezones

Unit = Literal["hour", "day", "month"]

_QUARTER = timedelta(minutes=15)
_MINUTE = timedelta(minutes=1)


@cache
def time_zones() -> frozenset[str]:
    """Give the names of all time zones of the IANA database."""
    # A system may list its own zone too, under a name that means another zone elsewhere.
    return frozenset(available_timezones() - {"localtime"})


class Buckets:
    """The buckets of one length in one time zone."""

    def __init__(self, unit: Unit, time_zone: str) -> None:
        self._unit = unit
        self._zone = ZoneInfo(time_zone)

    def start(self, instant: datetime) -> datetime:
        """Give when the bucket began that an instant is in, in UTC."""
        local = instant.astimezone(self._zone).replace(minute=0, second=0, microsecond=0)
        if self._unit != "hour":
            # The first midnight, where a day has two.
            local = local.replace(hour=0, fold=0)
        if self._unit == "month":
            local = local.replace(day=1)
        return local.astimezone(UTC)

    def starts(self, first: datetime) -> Iterator[datetime]:
        """Give when the bucket of an instant began, and all later ones, in UTC."""
        start = self.start(first)
        while True:
            yield start
            start = next(later for later in self._candidates(start) if later > start)

    def boundaries(self, first: datetime, last: datetime, buckets_max: int) -> list[datetime]:
        """Give where buckets begin, from that of one instant, and where the last of them ends.

        That is the bucket of another instant, or the last of as many as are allowed.
        """
        starts = self.starts(first)
        boundaries = [next(starts)]
        while boundaries[-1] <= last and len(boundaries) <= buckets_max:
            boundaries.append(next(starts))
        return boundaries

    def label(self, start: datetime) -> str:
        """Write when a bucket begins, with the zone's offset from UTC (RFC 3339, section 5.6).

        Offsets of old times may have seconds, which the format has not: these are left out of the
        offset, and the time is still the same instant.
        """
        offset = start.astimezone(self._zone).utcoffset() or timedelta()
        return start.astimezone(timezone(offset // _MINUTE * _MINUTE)).isoformat()

    def name(self, start: datetime) -> str:
        """Write a bucket for people: its hour, day or month in the zone."""
        local = start.astimezone(self._zone)
        match self._unit:
            case "hour":
                return f"{local:%Y-%m-%d %H:%M %Z}"
            case "day":
                return f"{local:%Y-%m-%d}"
            case "month":
                return f"{local:%Y-%m}"

    def _candidates(self, start: datetime) -> Iterator[datetime]:
        """Give possible starts of the next bucket: the first that is later is it."""
        if self._unit == "hour":
            # Clocks that are turned back by half an hour make an hour longer.
            instant = start + timedelta(hours=1)
            while True:
                yield self.start(instant)
                instant += _QUARTER
        day = start.astimezone(self._zone).replace(hour=0, minute=0, second=0, fold=0)
        while True:
            day += timedelta(days=1)
            if self._unit == "day" or day.day == 1:
                yield day.astimezone(UTC)
