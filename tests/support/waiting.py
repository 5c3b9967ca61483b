"""Waiting for what must come true: with a deadline, and never longer than it takes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

Found = TypeVar("Found")

POLL_S = 0.05
PATIENCE_S = 60.0
"""How long a test waits for what takes a moment. Only a machine that is stuck takes as long."""
ALL_TENANTS_S = 4 * PATIENCE_S
"""How long for what is done to all tenants. A stack that other tests share may have hundreds."""


async def eventually(
    look: Callable[[], Awaitable[Found | None]],
    what: str,
    *,
    within_s: float = PATIENCE_S,
    every_s: float = POLL_S,
) -> Found:
    """Look again and again until there is something true to see, and give it.

    Args:
        look: Looks once.
        what: What is waited for, for the person who reads that it never came.
        within_s: How long to go on. Shorter than usual only where a later answer would be wrong.
        every_s: How long to wait before looking again.
    """
    deadline = time.monotonic() + within_s
    while not (found := await look()):
        assert time.monotonic() < deadline, f"waited {within_s:g} s in vain: {what}"
        await asyncio.sleep(every_s)
    return found
