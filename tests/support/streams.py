"""Streams of bytes for tests, and what is left of one."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable


async def stream(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def collect(pieces: AsyncIterable[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])
