"""What was encrypted comes out again, whole and in its place, or not at all."""

import os
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from freehold_tenant_manager.storage.encryption import DecryptionError, decrypt, encrypt
from support.streams import collect, stream

KEY = bytes(range(32))
CONTEXT = b"acme\0tenants/acme/1/backup"
HEADER_BYTES = 36
CHUNK_BYTES = 65_536
SEALED_BYTES = CHUNK_BYTES + 16


async def _encrypt(plain: bytes, *, context: bytes = CONTEXT, key: bytes = KEY) -> bytes:
    return await collect(encrypt(key, context, stream([plain])))


async def _decrypt(sealed: bytes, *, context: bytes = CONTEXT, key: bytes = KEY) -> bytes:
    return await collect(decrypt(key, context, stream([sealed])))


def _split(text: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cuts), len(text)]
    return [text[start:end] for start, end in pairwise(places)]


@given(
    st.sampled_from([0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 5]),
    st.data(),
)
async def test_any_split_of_the_bytes_comes_out_again(size: int, data: st.DataObject) -> None:
    plain = os.urandom(size)
    cuts = data.draw(st.lists(st.integers(0, size), max_size=5))
    sealed = await collect(encrypt(KEY, CONTEXT, stream(_split(plain, cuts))))
    cuts = data.draw(st.lists(st.integers(0, len(sealed)), max_size=5))
    assert await collect(decrypt(KEY, CONTEXT, stream(_split(sealed, cuts)))) == plain


async def test_the_form_is_as_documented() -> None:
    plain = os.urandom(CHUNK_BYTES + 10)
    sealed = await _encrypt(plain)
    header, rest = sealed[:36], sealed[36:]
    assert header[:4] == b"FHE\x01"
    info = b"freehold stream\0" + CONTEXT
    stream_key = HKDF(algorithm=SHA256(), length=32, salt=header[4:], info=info).derive(KEY)
    first = AESGCM(stream_key).decrypt(bytes(12), rest[:SEALED_BYTES], header)
    nonce = bytes(7) + bytes([0, 0, 0, 1, 1])
    last = AESGCM(stream_key).decrypt(nonce, rest[SEALED_BYTES:], header)
    assert first + last == plain


async def test_the_same_text_encrypts_differently_each_time() -> None:
    assert await _encrypt(b"balance") != await _encrypt(b"balance")


async def test_every_changed_byte_is_found() -> None:
    sealed = await _encrypt(b"the truth")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(DecryptionError):
            await _decrypt(bytes(changed))


@pytest.mark.parametrize("left", [0, 3, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 15])
async def test_a_truncated_stream_is_found(left: int) -> None:
    with pytest.raises(DecryptionError):
        await _decrypt((await _encrypt(b"the truth"))[:left])


async def test_chunks_left_out_reordered_doubled_or_added_are_found() -> None:
    sealed = await _encrypt(os.urandom(3 * CHUNK_BYTES))
    header, rest = sealed[:HEADER_BYTES], sealed[HEADER_BYTES:]
    first, second, last = (rest[SEALED_BYTES * n :][:SEALED_BYTES] for n in range(3))
    for chunks in (
        (first, second),
        (first, last),
        (second, first, last),
        (first, first, second, last),
        (first, second, last, last),
        (first, second, last, b"x"),
    ):
        with pytest.raises(DecryptionError):
            await _decrypt(header + b"".join(chunks))


async def test_chunks_of_another_stream_are_found() -> None:
    one, other = [await _encrypt(os.urandom(2 * CHUNK_BYTES)) for _ in range(2)]
    with pytest.raises(DecryptionError):
        await _decrypt(one[: HEADER_BYTES + SEALED_BYTES] + other[HEADER_BYTES + SEALED_BYTES :])


async def test_another_path_and_another_key_are_found() -> None:
    sealed = await _encrypt(b"the truth")
    with pytest.raises(DecryptionError):
        await _decrypt(sealed, context=b"other\0tenants/other/1/backup")
    with pytest.raises(DecryptionError):
        await _decrypt(sealed, key=bytes(32))


async def test_a_later_version_is_named() -> None:
    sealed = await _encrypt(b"the truth")
    with pytest.raises(DecryptionError, match="version 2"):
        await _decrypt(b"FHE\x02" + sealed[4:])
