"""Waiting for something to become true: always with a deadline, never for something dead."""

import time
from collections.abc import Callable

POLL_S = 0.1


def wait_until(
    ready: Callable[[], bool], *, timeout_s: float, alive: Callable[[], bool] = lambda: True
) -> None:
    """Wait until something is ready.

    Args:
        ready: Asked again and again; must answer soon.
        timeout_s: How long to go on asking.
        alive: Whether there is still something to wait for.

    Raises:
        TimeoutError: It was not ready in time, or there was nothing left to wait for.
    """
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline or not alive():
            raise TimeoutError
        time.sleep(POLL_S)
