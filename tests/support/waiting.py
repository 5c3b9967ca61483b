"""Waiting for what must come true: with a deadline, and never longer than it takes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Found = TypeVar("Found")

POLL_S = 0.05


async def eventually(
    look: Callable[[], Awaitable[Found | None]],
    what: str,
    *,
    within_s: float = 60,
    every_s: float = POLL_S,
) -> Found:
    """Look again and again until there is something true to see, and give it.

    Args:
        look: Looks once.
        what: What is waited for, for the person who reads that it never came.
        within_s: How long to go on. Generous, as the machine may have other things to do.
        every_s: How long to wait before looking again.
    """
    deadline = time.monotonic() + within_s
    while not (found := await look()):
        assert time.monotonic() < deadline, f"waited {within_s:g} s in vain: {what}"
        await asyncio.sleep(every_s)
    return found
