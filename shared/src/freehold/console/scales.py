"""Scales of charts: the round amounts and times that an axis names."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from freehold.console.texts import amount

_EXACT_DIGITS = 9
"""An axis writes larger numbers as a power of ten."""
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_DAY_S = 86_400
_WITHIN_A_DAY_S = (
    *(1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1_800),
    *(3_600, 7_200, 10_800, 21_600, 43_200),
)
_DAYS = (1, 2, 7, 14)
_MONTHS = (1, 2, 3, 6, *(12 * 10**power * step for power in range(4) for step in (1, 2, 5)))
_MONTH_S = 28 * _DAY_S


class Tick(NamedTuple):
    """A time that an axis names."""

    at: datetime
    label: str


def amount_ticks(least: int, most: int, ticks_max: int = 6) -> list[int]:
    """Give round integers that enclose two others and zero, at even distances.

    They are integers of any size: amounts in minor units may have 38 digits.
    """
    least, most = min(least, 0), max(most, 1)
    distance, size = 1, 0
    while -(-most // distance) - least // distance >= ticks_max:
        size += 1
        distance = (1, 2, 5)[size % 3] * 10 ** (size // 3)
    return list(range(least // distance * distance, -(-most // distance) * distance + 1, distance))


def amount_label(minor: int, exponent: int) -> str:
    """Write a round amount for an axis: with all decimals of its currency, if it is short."""
    digits = str(abs(minor))
    if len(digits) <= _EXACT_DIGITS + exponent:
        return amount(minor, exponent)
    first, rest = digits[0], digits[1:].rstrip("0")
    power = str(len(digits) - 1 - exponent).translate(_SUPERSCRIPT)
    sign = "\N{MINUS SIGN}" if minor < 0 else ""
    return f"{sign}{first}{'.' if rest else ''}{rest}\N{MULTIPLICATION SIGN}10{power}"


def time_ticks(
    first: datetime, last: datetime, zone: tzinfo = UTC, ticks_max: int = 7
) -> list[Tick]:
    """Give round times of a zone's clock from one instant to another."""
    span_s = (last - first).total_seconds()

    def few(steps: Sequence[int], unit_s: int) -> int | None:
        return next((step for step in steps if span_s <= step * unit_s * ticks_max), None)

    start = first.astimezone(zone).replace(tzinfo=None)
    if seconds := few(_WITHIN_A_DAY_S, 1):
        times, form = _every_seconds(start, seconds), _clock if seconds >= 60 else _full_clock
    elif days := few(_DAYS, _DAY_S):
        times, form = _every_days(start, days), _day
    else:
        months = few(_MONTHS, _MONTH_S) or _MONTHS[-1]
        times, form = _every_months(start, months), _month if months < 12 else _year
    ticks = []
    for local in times:
        at = local.replace(tzinfo=zone)
        if at > last:
            break
        if at >= first:
            ticks.append(Tick(at, form(local)))
    return ticks


def _every_seconds(start: datetime, seconds: int) -> Iterator[datetime]:
    at = datetime.combine(start.date(), time())
    at += (start - at) // timedelta(seconds=seconds) * timedelta(seconds=seconds)
    while True:
        yield at
        at += timedelta(seconds=seconds)


def _every_days(start: datetime, days: int) -> Iterator[datetime]:
    number = (start.toordinal() - 1) // days * days + 1
    while True:
        yield datetime.combine(date.fromordinal(number), time())
        number += days


def _every_months(start: datetime, months: int) -> Iterator[datetime]:
    number = (start.year * 12 + start.month - 1) // months * months
    while number < (date.max.year + 1) * 12:
        if number >= 12:
            yield datetime(number // 12, number % 12 + 1, 1)  # noqa: DTZ001 (of the zone's clock)
        number += months


def _full_clock(at: datetime) -> str:
    return f"{at:%H:%M:%S}" if at.time() != time() else _day(at)


def _clock(at: datetime) -> str:
    return f"{at:%H:%M}" if at.time() != time() else _day(at)


def _day(at: datetime) -> str:
    return f"{at.day} {at:%b}"


def _month(at: datetime) -> str:
    return f"{at:%b} {at.year}"


def _year(at: datetime) -> str:
    return f"{at.year}"
