"""Tries to sign in: a process takes a few each second, so that nobody can guess in bulk."""

import time
from collections.abc import Callable

from freehold.contracts.errors import TooManyRequests

_TRIES_PER_S = 5
_AT_ONCE = 20


class Tries:
    """A bucket of tries that time fills."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left = float(_AT_ONCE)
        self._at = clock()

    def take(self) -> None:
        """Count one try.

        Raises:
            TooManyRequests: There were too many, by all visitors of this process together.
        """
        now = self._clock()
        self._left = min(_AT_ONCE, self._left + (now - self._at) * _TRIES_PER_S)
        self._at = now
        if self._left < 1:
            raise TooManyRequests("too many people try to sign in; try again in a moment")
        self._left -= 1
