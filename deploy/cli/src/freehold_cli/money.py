"""Amounts as people write them: in major units, with all decimals of their currency."""

from freehold.contracts.currency import MINOR_UNIT_EXPONENTS, grouped


def shown_amount(minor: int | None, currency: str, exponent: int | None = None) -> str | None:
    """Write an amount of minor units in major units: 199000 USD cents are 1,990.00.

    Args:
        minor: The amount; None gives None.
        currency: Its ISO 4217 code.
        exponent: The currency's decimals, where the server says them.
    """
    if minor is None:
        return None
    decimals = MINOR_UNIT_EXPONENTS.get(currency) if exponent is None else exponent
    if decimals is None:
        # A currency that is newer than this command.
        return f"{minor:,} minor units"
    return grouped(minor, decimals)
