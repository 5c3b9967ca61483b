"""Backoff: pauses between tries that grow, and differ between those that failed together."""

import random


def backoff_s(failures: int, *, first_s: float, max_s: float) -> float:
    """Give the pause in seconds after this many failures in a row, from 1.

    It doubles each time, and half of it is random, so that not all return at the end of an outage.
    """
    # Bounded: 2.0 ** 1024 raises OverflowError.
    pause_s = min(first_s * 2.0 ** min(failures - 1, 30), max_s)
    return pause_s * random.uniform(0.5, 1.0)  # noqa: S311 (no secret)
