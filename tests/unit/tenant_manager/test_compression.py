"""What was compressed comes out again, whole or not at all."""

import os

import pytest

from freehold_tenant_manager.storage.compression import DecompressionError, compress, decompress
from support.streams import collect, stream

PLAIN = [b"", b"2026-03-01,CHARGE,2000\n" * 100_000, os.urandom(700_000), b"end"]


async def test_what_was_compressed_comes_out_again() -> None:
    compressed = await collect(compress(stream(PLAIN)))
    assert len(compressed) < 1_000_000
    pieces = [compressed[begin : begin + 1_000] for begin in range(0, len(compressed), 1_000)]
    assert await collect(decompress(stream(pieces))) == b"".join(PLAIN)


async def test_an_empty_stream_stays_empty() -> None:
    assert await collect(decompress(compress(stream([])))) == b""


async def test_much_is_given_in_small_pieces() -> None:
    compressed = await collect(compress(stream([bytes(2**20)] * 64)))
    sizes = [len(piece) async for piece in decompress(stream([compressed]))]
    assert sum(sizes) == 64 * 2**20
    assert max(sizes) <= 64 * 2**20 / 4


@pytest.mark.parametrize(
    "damaged",
    [lambda c: c[:-1], lambda c: c + b"x", lambda _: b"", lambda _: b"no frame", lambda c: c + c],
)
async def test_a_stream_that_is_not_whole_is_found(damaged: object) -> None:
    assert callable(damaged)
    compressed = await collect(compress(stream(PLAIN)))
    with pytest.raises(DecompressionError):
        await collect(decompress(stream([damaged(compressed)])))
