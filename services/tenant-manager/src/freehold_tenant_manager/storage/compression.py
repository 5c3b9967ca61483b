"""Compression of streams with Zstandard (RFC 8878), away from the event loop.

Each stream is one frame with a checksum. It is compressed before it is encrypted, since encrypted
bytes do not compress.
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator

import zstandard

_LEVEL = 3
_BATCH_BYTES = 256 * 1024
# Zstandard expands up to 30,000 times, so this much gives at most 8 MB.
_SLICE_BYTES = 256


class DecompressionError(Exception):
    """A stream is no compressed stream, or is not whole."""


async def compress(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Compress a stream."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compressobj()
    async for batch in _batches(pieces):
        compressed = await asyncio.to_thread(compressor.compress, batch)
        if compressed:
            yield compressed
    yield await asyncio.to_thread(compressor.flush)


async def decompress(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Decompress a stream.

    Raises:
        DecompressionError: It is no compressed stream, is cut off, or something follows it.
    """
    decompressor = zstandard.ZstdDecompressor().decompressobj()
    async for batch in _batches(pieces):
        begin = 0
        while begin < len(batch):
            piece, begin = await asyncio.to_thread(_decompress, decompressor, batch, begin)
            if piece:
                yield piece
    if not decompressor.eof:
        raise DecompressionError("the compressed stream is cut off")


def _decompress(
    decompressor: "zstandard.ZstdDecompressionObj", batch: bytes, begin: int
) -> tuple[bytes, int]:
    """Decompress a batch from `begin` on to a piece of about 256 KiB; give it and its end."""
    pieces: list[bytes] = []
    pieces_bytes = 0
    while begin < len(batch) and pieces_bytes < _BATCH_BYTES:
        try:
            pieces.append(decompressor.decompress(batch[begin : begin + _SLICE_BYTES]))
        except zstandard.ZstdError as error:
            raise DecompressionError(f"the stream does not decompress: {error}") from None
        if decompressor.unused_data:
            raise DecompressionError("something follows the compressed stream")
        pieces_bytes += len(pieces[-1])
        begin += _SLICE_BYTES
    return b"".join(pieces), begin


async def _batches(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Join small pieces, since each call in a thread has a fixed cost."""
    waiting: list[bytes] = []
    waiting_bytes = 0
    async for piece in pieces:
        waiting.append(piece)
        waiting_bytes += len(piece)
        if waiting_bytes >= _BATCH_BYTES:
            yield b"".join(waiting)
            waiting, waiting_bytes = [], 0
    if waiting:
        yield b"".join(waiting)
