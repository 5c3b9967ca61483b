"""Opening the parts of a service one after the other, and closing them the other way round."""

from contextlib import AsyncExitStack
from typing import Protocol


class Part(Protocol):
    """What has a beginning and an end."""

    async def open(self) -> None:
        """Begin."""

    async def close(self) -> None:
        """End. It must work after an `open` that failed halfway."""


async def open_in(stack: AsyncExitStack, part: Part) -> None:
    """Open a part. The stack closes it before the parts that were opened earlier."""
    stack.push_async_callback(part.close)
    await part.open()
