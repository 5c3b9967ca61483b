"""A service's clock, and how far the clock of a server may be from it.

No clock is believed alone. Whatever is decided or written by a database's clock is done only while
the clock of the service that asks says the same, within a bound; so a leap of either is refused and
never written.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

DISAGREEMENT = "TC001"
"""The SQLSTATE of the ledger's `agreed_now` where two clocks differ by more than the bound."""


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Clock:
    """A service's own clock."""

    difference_max_s: float
    """How far another's may be from it, in seconds."""
    now: Callable[[], datetime] = _now


def asked(clock: Clock | None) -> tuple[datetime | None, float | None]:
    """Give the arguments of `agreed_now`; without a clock any agrees."""
    return (None, None) if clock is None else (clock.now(), clock.difference_max_s)
