"""Sessions in a database that was closed: whoever was just coming in is seen a little later."""

import asyncio
from collections.abc import Awaitable, Callable

_PAUSE_S = 0.05
_LOOKS = 2


async def until_nobody_is_in(look: Callable[[], Awaitable[bool]], *, timeout_s: float) -> None:
    """Look again and again until nobody was in twice in a row.

    Args:
        look: Says whether nobody is in; where somebody is, it ends their sessions.
        timeout_s: Bounds all of it.

    Raises:
        TimeoutError: Some of them do not leave.
    """
    async with asyncio.timeout(timeout_s):
        looks = 0
        while looks < _LOOKS:
            await asyncio.sleep(_PAUSE_S)
            looks = looks + 1 if await look() else 0
