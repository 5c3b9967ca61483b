from datetime import UTC, datetime, timedelta

import pytest

from freehold.console.texts import age, amount, duration, instant, number, size


@pytest.mark.parametrize(
    ("minor", "exponent", "written"),
    [
        (199000, 2, "1,990.00"),
        (-5, 2, "\N{MINUS SIGN}0.05"),
        (1234567, 0, "1,234,567"),
        (1234567, 3, "1,234.567"),
        (10**37 + 1, 2, "100,000,000,000,000,000,000,000,000,000,000,000.01"),
        (None, 2, "\N{EN DASH}"),
    ],
)
def test_amounts_have_their_currencys_decimals(
    minor: int | None, exponent: int, written: str
) -> None:
    assert amount(minor, exponent) == written


def test_sizes_and_durations_are_in_the_unit_that_suits_them() -> None:
    assert [size(value) for value in (0, 1023, 1536, -2 * 2**20, 3 * 2**50)] == [
        "0 bytes",
        "1,023 bytes",
        "1.5 KiB",
        "\N{MINUS SIGN}2.0 MiB",
        "3,072.0 TiB",
    ]
    assert [duration(value) for value in (0.004, 9, 100, 130, 7200, 200_000)] == [
        "0.004 s",
        "9 s",
        "100 s",
        "2 min",
        "2 h",
        "2 d",
    ]
    assert number(1234.5, 1) == "1,234.5"


def test_times_are_in_utc_and_ages_never_negative() -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert instant(now) == "2026-03-01 12:00:00 UTC"
    assert age(now - timedelta(hours=3), now) == "3 h"
    assert age(now + timedelta(seconds=3), now) == "0 s"
