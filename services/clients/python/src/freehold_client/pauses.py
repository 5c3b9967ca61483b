"""How long to wait before a request is sent again, and whether it is."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time

COME_AGAIN = frozenset({408, 429, 502, 503, 504})
"""Statuses of a busy service, or of a proxy before one that is away."""

_PAUSE_FIRST_S = 0.25
_PAUSE_MOST_S = 8.0


@dataclass(frozen=True, slots=True)
class Pauses:
    """The pauses between the tries of one call, each about twice as long as the one before.

    Args:
        within_s: No further try begins later than this after the first.
    """

    within_s: float

    def before(self, tries: int, spent_s: float, asked_s: float | None) -> float | None:
        """Give the pause before the next try, in seconds; None where there is to be none.

        Args:
            tries: How many there were.
            spent_s: The time since the first one began.
            asked_s: What the answer's Retry-After asks for; the pause is never shorter.
        """
        # The power is bounded: 2.0**1024 is an error.
        longest = min(_PAUSE_FIRST_S * 2.0 ** min(tries - 1, 30), _PAUSE_MOST_S)
        pause = (asked_s or 0.0) + spread(longest)
        return pause if spent_s + pause <= self.within_s else None


def spread(seconds: float) -> float:
    """Shorten a pause by up to a half at random, so that clients do not come all at once."""
    return seconds * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After: seconds, or a time in HTTP's form, which some proxies send.

    RFC 9110, section 10.2.3. What is neither counts as absent.
    """
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time(), 0.0)
    except ValueError:
        return None
