"""Content in pieces, the form in which streams travel here."""

from collections.abc import AsyncIterable, AsyncIterator


async def pieces_of(
    content: bytes, rest: AsyncIterable[bytes] | None = None
) -> AsyncIterator[bytes]:
    """Give content that is at hand as a piece, and then the rest of the stream it began."""
    yield content
    if rest is not None:
        async for piece in rest:
            yield piece
