"""The head of a plain dump: the settings that its restoration begins with.

pg_dump 17 and later set one there that servers before 17 do not know, and so refuse the file. It is
said in a way that all of them take. Nothing behind the head is looked at: a ledger's own text may
be anything.
"""

from collections.abc import AsyncIterable, AsyncIterator

_REFUSED = b"\nSET transaction_timeout = 0;"
_TAKEN = (
    b"\nSELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings"
    b" WHERE name = 'transaction_timeout';"
)
# What pg_dump writes next. Up to here all is its own words, whatever is dumped.
_END = b"\nSET client_encoding = "
_HEAD_BYTES_MAX = 16 * 1024


async def taken_by_all(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Give a plain dump so that servers of all supported versions take it."""
    source = aiter(pieces)
    beginning = b""
    async for piece in source:
        beginning += piece
        if _END in beginning or len(beginning) > _HEAD_BYTES_MAX:
            break
    # Nothing, where it is none that we know: then it passes as it is.
    head = beginning[: max(0, beginning.find(_END, 0, _HEAD_BYTES_MAX))]
    yield head.replace(_REFUSED, _TAKEN, 1) + beginning[len(head) :]
    async for piece in source:
        yield piece
