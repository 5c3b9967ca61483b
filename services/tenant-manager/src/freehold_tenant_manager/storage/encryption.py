"""Encryption of streams: what is decrypted is what was encrypted for the same path, whole.

The STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár, CRYPTO 2015): chunks of 64 KiB, each
sealed with AES-256-GCM (NIST SP 800-38D) under a nonce that counts them and marks the last. Every
stream has a key of its own, derived by HKDF-SHA256 (RFC 5869) from the tenant's data key, a random
salt and the context, which names the tenant and the path. So changed, missing, reordered or cut-off
chunks do not decrypt, and neither does an object that was moved to another path.

    stream = header, chunks      header = "FHE", version 1 (one byte), salt (32 bytes)
    chunk  = AES-256-GCM(stream key, nonce, plaintext of 64 KiB or, the last one, less; AAD header)
    nonce  = 7 zero bytes, number of the chunk from 0 (4 bytes, big-endian), 1 for the last else 0
    stream key = HKDF-SHA256(data key, salt, info = "freehold stream" NUL context)
"""

import os
from collections.abc import AsyncIterable, AsyncIterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from freehold_tenant_manager.storage.pieces import pieces_of

KEY_BYTES = 32
_MAGIC = b"FHE"
_VERSION = 1
_SALT_BYTES = 32
_HEADER_BYTES = len(_MAGIC) + 1 + _SALT_BYTES
_CHUNK_BYTES = 65_536
_TAG_BYTES = 16


class DecryptionError(Exception):
    """A stream is not what was encrypted with this key for this context."""


async def encrypt(key: bytes, context: bytes, pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Encrypt a stream with a data key of 32 bytes; decryption asks for the same context."""
    header = _MAGIC + bytes([_VERSION]) + os.urandom(_SALT_BYTES)
    cipher = _cipher(key, header, context)
    yield header
    number = 0
    # The last chunk is marked, so a chunk is sealed once it is known whether another follows.
    async for chunk, is_last in _chunks(pieces, _CHUNK_BYTES):
        yield cipher.encrypt(_nonce(number, is_last), chunk, header)
        number += 1


async def decrypt(key: bytes, context: bytes, pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Decrypt a stream. Each piece is genuine; the stream is whole if this ends without an error.

    Raises:
        DecryptionError: The stream was changed or cut off, or has another key or context.
    """
    pieces = aiter(pieces)
    beginning = b""
    while len(beginning) < _HEADER_BYTES:
        try:
            beginning += await anext(pieces)
        except StopAsyncIteration:
            raise DecryptionError("the encrypted stream is cut off") from None
    header, rest = beginning[:_HEADER_BYTES], beginning[_HEADER_BYTES:]
    if header[: len(_MAGIC)] != _MAGIC:
        raise DecryptionError("this is no encrypted stream")
    if header[len(_MAGIC)] != _VERSION:
        raise DecryptionError(f"the encrypted stream has version {header[len(_MAGIC)]}")
    cipher = _cipher(key, header, context)
    number = 0
    async for chunk, is_last in _chunks(pieces_of(rest, pieces), _CHUNK_BYTES + _TAG_BYTES):
        try:
            yield cipher.decrypt(_nonce(number, is_last), chunk, header)
        except (InvalidTag, ValueError):
            raise DecryptionError(
                "the encrypted stream was changed or cut off, or is another's"
            ) from None
        number += 1


def _cipher(key: bytes, header: bytes, context: bytes) -> AESGCM:
    if len(key) != KEY_BYTES:
        raise ValueError(f"a data key has {KEY_BYTES} bytes")
    derivation = HKDF(
        algorithm=SHA256(),
        length=KEY_BYTES,
        salt=header[-_SALT_BYTES:],
        info=b"freehold stream\0" + context,
    )
    return AESGCM(derivation.derive(key))


def _nonce(number: int, is_last: bool) -> bytes:
    return bytes(7) + number.to_bytes(4, "big") + bytes([is_last])


async def _chunks(
    pieces: AsyncIterable[bytes], chunk_bytes: int
) -> AsyncIterator[tuple[bytes, bool]]:
    """Cut a stream into chunks of one size; the last, marked so, may be smaller or empty."""
    waiting = bytearray()
    async for piece in pieces:
        waiting += piece
        begin = 0
        while len(waiting) - begin > chunk_bytes:
            yield bytes(waiting[begin : begin + chunk_bytes]), False
            begin += chunk_bytes
        del waiting[:begin]
    yield bytes(waiting), True
