"""Answers that are sent in pieces. They begin in time, and may take longer to their end.

Where a piece fails, the connection ends before the end of the answer: no part looks whole.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import Request
from fastapi.responses import StreamingResponse

from freehold.contracts.errors import Overloaded
from freehold_query.answers import PACKED_LEVEL, takes_gzip

# A header and a trailer of gzip around what zlib packs (zlib, `deflateInit2`).
_GZIP_BITS = 16 + zlib.MAX_WBITS
# Without it nginx holds the pieces back until the answer is complete (proxy_buffering).
_UNBUFFERED = {"X-Accel-Buffering": "no"}


@asynccontextmanager
async def answered_within(timeout_s: float) -> AsyncIterator[None]:
    """Bound what comes before an answer: the deadline of requests leaves out what is streamed.

    Raises:
        Overloaded: It took longer.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise Overloaded(f"no answer within {timeout_s:g} s; try again") from None


async def streamed(
    request: Request,
    pieces: AsyncIterator[bytes],
    media_type: str,
    headers: Mapping[str, str],
    *,
    may_pack: bool = True,
) -> StreamingResponse:
    """Answer with pieces, the first of which is read before the answer begins.

    Args:
        request: The request.
        pieces: The answer's bytes.
        media_type: Of the answer.
        headers: More of its header fields.
        may_pack: Whether a client that takes gzip gets it, which holds small pieces back.

    Raises:
        DomainError: The first piece cannot be read: that can still be answered in words.
    """
    sent = {**_UNBUFFERED, **headers}
    if may_pack and takes_gzip(request):
        pieces = _packed(pieces)
        sent["Content-Encoding"] = "gzip"
    first = await anext(pieces)

    async def all_pieces() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return StreamingResponse(all_pieces(), headers=sent, media_type=media_type)


async def _packed(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(PACKED_LEVEL, wbits=_GZIP_BITS)
    async for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()
