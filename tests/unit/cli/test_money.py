"""Amounts for people, exact however large."""

import pytest

from freehold_cli.money import shown_amount


@pytest.mark.parametrize(
    ("minor", "currency", "exponent", "written"),
    [
        (199_000, "USD", None, "1,990.00"),
        (-5, "USD", None, "-0.05"),
        (0, "EUR", None, "0.00"),
        (1234, "JPY", None, "1,234"),
        (1234, "BHD", None, "1.234"),
        (1234, "USD", 3, "1.234"),
        (10**37 + 1, "USD", 2, f"{10**35:,}.01"),
        (7, "QQQ", None, "7 minor units"),
        (7, "QQQ", 1, "0.7"),
    ],
)
def test_an_amount_is_written_in_major_units(
    minor: int, currency: str, exponent: int | None, written: str
) -> None:
    assert shown_amount(minor, currency, exponent) == written


def test_no_amount_is_none() -> None:
    assert shown_amount(None, "USD") is None
