"""Streams of bytes in pieces."""

from collections.abc import AsyncIterable, AsyncIterator


async def pieces_of(
    content: bytes, rest: AsyncIterable[bytes] | None = None
) -> AsyncIterator[bytes]:
    """Give content as one piece, then the rest of a stream."""
    yield content
    if rest is not None:
        async for piece in rest:
            yield piece
