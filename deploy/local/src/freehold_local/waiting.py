"""Polling with a deadline."""

import time
from collections.abc import Callable

POLL_S = 0.1


def wait_until(
    ready: Callable[[], bool], *, timeout_s: float, alive: Callable[[], bool] = lambda: True
) -> None:
    """Poll until something is ready.

    Args:
        ready: The condition.
        timeout_s: The deadline.
        alive: Whether waiting still makes sense.

    Raises:
        TimeoutError: It was not ready in time, or is not alive.
    """
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline or not alive():
            raise TimeoutError
        time.sleep(POLL_S)
