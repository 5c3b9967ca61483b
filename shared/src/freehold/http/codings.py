"""Content codings of request bodies (RFC 9110, section 8.4.1): gzip and zstd, unpacked in pieces.

No piece is larger than a few MiB, and each is unpacked when it is asked for. A caller that counts
the pieces never holds more than its limit and one piece.
"""

import asyncio
import zlib
from collections.abc import Iterator
from typing import Protocol

import zstandard
from starlette.types import Message, Receive

from freehold.contracts.errors import DomainError
from freehold.http.errors import BodyTooLarge, MalformedCoding, UnsupportedMediaType

ACCEPTED = "gzip, zstd"

_PIECE_BYTES_MAX = 65_536
# For zlib: a window of 15 bits, and a gzip header.
_GZIP = 31
# A slice of 64 bytes has at most 16 blocks of 128 KiB, so 2 MiB (RFC 8878, section 3.1.1.2).
_ZSTD_SLICE_BYTES = 64
# The limit of RFC 9659.
_ZSTD_WINDOW_BYTES_MAX = 8 * 2**20
# An import of the same line over and over is packed to a hundredth.
_RATIO_MAX = 200
# More than the limit of a body that is read as a whole.
_UNPACKED_BYTES_FREE = 64 * 2**20


class Decoder(Protocol):
    """Unpacks one body."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Unpack the next bytes.

        Raises:
            MalformedCoding: They are not in this coding.
        """
        ...

    def end(self) -> None:
        """End the body.

        Raises:
            MalformedCoding: Its end is missing.
        """
        ...


class _Gzip:
    """Unpacks gzip (RFC 1952): one member after another."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._begun = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Unpack the next bytes."""
        while data:
            if self._member.eof:
                self._member = zlib.decompressobj(_GZIP)
            self._begun = True
            yield from self._unpacked(data)
            data = self._member.unused_data

    def _unpacked(self, data: bytes) -> Iterator[bytes]:
        is_full = True
        while (data or is_full) and not self._member.eof:
            try:
                piece = self._member.decompress(data, _PIECE_BYTES_MAX)
            except zlib.error:
                raise _malformed("gzip") from None
            if piece:
                yield piece
            # A full piece may leave output behind, although all input is read.
            is_full = len(piece) == _PIECE_BYTES_MAX
            data = self._member.unconsumed_tail

    def end(self) -> None:
        """End the body."""
        if not (self._begun and self._member.eof):
            raise _malformed("gzip", cut=True)


class _Zstd:
    """Unpacks Zstandard (RFC 8878): one frame after another."""

    def __init__(self) -> None:
        self._frames = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES_MAX)
        self._frame = self._frames.decompressobj()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Unpack the next bytes."""
        for begin in range(0, len(data), _ZSTD_SLICE_BYTES):
            part = data[begin : begin + _ZSTD_SLICE_BYTES]
            while part:
                if self._frame.eof:
                    self._frame = self._frames.decompressobj()
                try:
                    piece = self._frame.decompress(part)
                except zstandard.ZstdError:
                    raise _malformed("zstd") from None
                if piece:
                    yield piece
                part = self._frame.unused_data

    def end(self) -> None:
        """End the body."""
        if not self._frame.eof:
            raise _malformed("zstd", cut=True)


def decoder(coding: str) -> Decoder | None:
    """Make the decoder of a coding. None: the body is not packed.

    Raises:
        UnsupportedMediaType: The coding is another one (RFC 9110, section 15.5.16).
    """
    match coding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return _Gzip()
        case "zstd":
            return _Zstd()
    raise UnsupportedMediaType(
        "send the body as it is, or with one Content-Encoding: gzip or zstd",
        headers={"Accept-Encoding": ACCEPTED},
    )


def decoded(body: bytes, coding: str, *, bytes_max: int) -> bytes:
    """Unpack a whole body.

    Raises:
        UnsupportedMediaType, MalformedCoding, BodyTooLarge: It cannot be unpacked.
    """
    unpacking = decoder(coding)
    if unpacking is None or not body:
        return body
    pieces: list[bytes] = []
    size = 0
    for piece in unpacking.feed(body):
        size += len(piece)
        if size > bytes_max:
            raise too_large(bytes_max)
        pieces.append(piece)
    unpacking.end()
    return b"".join(pieces)


def too_large(bytes_max: int) -> DomainError:
    """Make the error of a body that is too large, packed or unpacked."""
    return BodyTooLarge(f"a body may have at most {bytes_max} bytes, when unpacked too")


def _malformed(coding: str, *, cut: bool = False) -> DomainError:
    what = "ends too early for" if cut else "is not"
    return MalformedCoding(f"the body {what} {coding}")


class DecodingReceive:
    """Receives a body unpacked.

    Unpacking costs time, and a streamed body may have any length. A body that unpacks to far more
    than useful data would is refused.
    """

    def __init__(self, receive: Receive, coding: str) -> None:
        self._receive = receive
        self._coding = coding
        self._decoder: Decoder | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._last = False
        self._left = _UNPACKED_BYTES_FREE
        """The bytes that may still be unpacked."""

    async def __call__(self) -> Message:
        """Receive the next piece.

        Raises:
            UnsupportedMediaType, MalformedCoding, BodyTooLarge: It cannot be unpacked.
        """
        while True:
            if self._decoder is not None:
                piece = next(self._pieces, None)
                if piece is not None:
                    self._left -= len(piece)
                    if self._left < 0:
                        raise BodyTooLarge(
                            f"a body may unpack to {_RATIO_MAX} times of itself at most"
                        )
                    # Unpacking takes time: other requests are served between the pieces.
                    await asyncio.sleep(0)
                    return {"type": "http.request", "body": piece, "more_body": True}
                if self._last:
                    self._decoder.end()
                    self._decoder = None
                    return {"type": "http.request", "body": b"", "more_body": False}
            message = await self._receive()
            body = message.get("body", b"")
            if self._decoder is None and body:
                self._decoder = decoder(self._coding)
            if self._decoder is None:
                return message
            self._left += len(body) * _RATIO_MAX
            self._pieces = self._decoder.feed(body)
            self._last = not message.get("more_body", False)
