"""How pages write amounts, numbers, sizes and times: the filters of templates."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from freehold.contracts.currency import grouped

_BYTES = 1024
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"))
_MINUS = "\N{MINUS SIGN}"
NONE = "\N{EN DASH}"
"""What stands where there is no value."""


def amount(minor: int | None, exponent: int) -> str:
    """Write an amount of minor units with all decimals of its currency: 199000 is 1,990.00.

    A minus is one (U+2212): it is as wide as a digit, and screen readers say it.
    """
    return NONE if minor is None else grouped(minor, exponent).replace("-", _MINUS)


def number(value: float | None, decimals: int = 0) -> str:
    """Write a number with its digits in groups."""
    return NONE if value is None else f"{value:,.{decimals}f}".replace("-", _MINUS)


def size(number_of_bytes: float | None) -> str:
    """Write a number of bytes in the unit that suits it (IEC 80000-13)."""
    if number_of_bytes is None:
        return NONE
    value, step = float(number_of_bytes), 0
    while abs(value) >= _BYTES and step < len(_UNITS) - 1:
        value, step = value / _BYTES, step + 1
    return number(value, 1 if step else 0) + f" {_UNITS[step]}"


def duration(seconds: float | None) -> str:
    """Write seconds in the largest unit of which there are two, or as they are."""
    if seconds is None:
        return NONE
    for step, unit in _STEPS:
        if seconds >= 2 * step:
            return f"{seconds / step:,.0f} {unit}"
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:,.2g} s"


def instant(at: datetime | None) -> str:
    """Write a time to the second, in UTC."""
    return NONE if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def age(at: datetime | None, now: datetime) -> str:
    """Write how long ago something was."""
    return NONE if at is None else duration(max((now - at) / timedelta(seconds=1), 0))


FILTERS: Mapping[str, Callable[..., Any]] = {
    "amount": amount,
    "number": number,
    "size": size,
    "duration": duration,
    "instant": instant,
    "age": age,
}
