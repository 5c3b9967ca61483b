"""Permits: how many calls work at once, not counting those that only wait.

Permits share the cores. A call that takes long waits for something else, such as a lock or a silent
server. It returns its permit and goes on without one; otherwise a few such calls would stop all
others.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

LONG_S = 1.0


@asynccontextmanager
async def permit(permits: asyncio.Semaphore, *, long_s: float = LONG_S) -> AsyncIterator[None]:
    """Hold a permit until the end of the call, but no longer than `long_s`."""
    await permits.acquire()
    # Closed twice, it releases once.
    held = ExitStack()
    held.callback(permits.release)
    timer = asyncio.get_running_loop().call_later(long_s, held.close)
    try:
        yield
    finally:
        timer.cancel()
        held.close()
