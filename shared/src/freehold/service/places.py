"""Places: how many calls work at once, not counting those that only wait.

A place is there to share the cores. A call that takes long waits for something else, a lock or a
silent server: it gives its place back and goes on without, or a few such would stop everybody.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

LONG_S = 1.0


@asynccontextmanager
async def place(places: asyncio.Semaphore, *, long_s: float = LONG_S) -> AsyncIterator[None]:
    """Hold one of the places until the end, but no longer than a call may take that works."""
    await places.acquire()
    # Closed twice, it gives back once.
    held = ExitStack()
    held.callback(places.release)
    timer = asyncio.get_running_loop().call_later(long_s, held.close)
    try:
        yield
    finally:
        timer.cancel()
        held.close()
