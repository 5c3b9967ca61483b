"""Frames: the format of what is copied out of a database into an object.

A frame is a kind (one letter), a length (four bytes, big-endian) and that many bytes of content.
Each piece of a COPY in text format becomes one frame, so memory stays flat both ways.
"""

import asyncio
import struct
from collections.abc import AsyncGenerator, AsyncIterator

from freehold.ledger.client import Connection

FRAME = struct.Struct(">cI")
_FRAME_BYTES_MAX = 64 * 1024 * 1024
_QUEUE_MAX = 16


class FrameError(Exception):
    """Bytes are not whole frames; the message says why and shows no content."""


def frame(kind: bytes, content: bytes) -> bytes:
    """Write a frame."""
    return FRAME.pack(kind, len(content)) + content


class FrameReader:
    """Reads frames from pieces of any size."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = bytearray()
        self._next: tuple[bytes, bytes] | None = None

    async def kind(self) -> bytes | None:
        """Give the kind of the next frame; None at the end.

        Raises:
            FrameError: The next bytes are no whole frame.
        """
        if self._next is None:
            self._next = await self._frame()
        return None if self._next is None else self._next[0]

    async def take(self, kind: bytes) -> bytes | None:
        """Give the content of the next frame if it is of this kind; None otherwise.

        Raises:
            FrameError: The next bytes are no whole frame.
        """
        if await self.kind() != kind or self._next is None:
            return None
        content, self._next = self._next[1], None
        return content

    async def section(self, kind: bytes) -> AsyncIterator[bytes]:
        """Give the contents of the next frames while they are of this kind."""
        while (content := await self.take(kind)) is not None:
            yield content

    async def _frame(self) -> tuple[bytes, bytes] | None:
        if not await self._have(FRAME.size):
            if self._rest:
                raise FrameError("it ends in the middle of a frame")
            return None
        kind, length = FRAME.unpack(self._rest[: FRAME.size])
        if length > _FRAME_BYTES_MAX:
            raise FrameError(f"it has a frame of more than {_FRAME_BYTES_MAX} bytes")
        if not await self._have(FRAME.size + length):
            raise FrameError("it ends in the middle of a frame")
        content = bytes(self._rest[FRAME.size : FRAME.size + length])
        del self._rest[: FRAME.size + length]
        return kind, content

    async def _have(self, length: int) -> bool:
        while len(self._rest) < length:
            piece = await anext(self._pieces, None)
            if piece is None:
                return False
            self._rest += piece
        return True


async def copied(
    connection: Connection, query: str, *arguments: object
) -> AsyncGenerator[bytes, None]:
    """Give the output of a COPY piece by piece; asyncpg itself only calls back with each.

    The session has SESSION_SETTINGS, with which the text is the same everywhere.

    A reader that stops early ends the connection, which is then in the middle of a COPY.
    """
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_QUEUE_MAX)
    left = False

    async def copy() -> None:
        try:
            await connection.copy_from_query(query, *arguments, output=pieces.put, format="text")
        finally:
            if not left:
                await pieces.put(None)

    copying = asyncio.create_task(copy())
    try:
        while (piece := await pieces.get()) is not None:
            yield piece
        await copying
    finally:
        left = True
        if not copying.done():
            copying.cancel()
            connection.terminate()
            await asyncio.gather(copying, return_exceptions=True)
