"""Amounts in major units."""

import pytest

from freehold.contracts.currency import major_units


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [
        (1990, "USD", "19.90"),
        (-5, "USD", "-0.05"),
        (0, "USD", "0.00"),
        (0, "JPY", "0"),
        (-1200, "JPY", "-1200"),
        (1, "KWD", "0.001"),
        (12_345, "CLF", "1.2345"),
        (10**38 - 1, "USD", "9" * 36 + ".99"),
    ],
)
def test_major_units_have_all_decimals_of_their_currency(
    amount_minor: int, currency: str, text: str
) -> None:
    assert f"{major_units(amount_minor, currency):f}" == text
