r"""The head of a plain dump: the commands with which its restoration begins.

Two commands are put before pg_dump's own, since its `\restrict` forbids psql commands after it. The
first stops psql at the first error: a restoration that continues would leave a ledger with parts
missing, or mixed with another one. The second refuses a database that cannot hold the ledger.

pg_dump 17 and later set transaction_timeout, which servers before 17 refuse. It is replaced by a
statement that all of them take. What follows the head is left alone: a ledger may contain any text.
"""

from collections.abc import AsyncIterable, AsyncIterator

from freehold.database.queries import load_script

DUMP_GUARD = load_script("freehold_tenant_manager.dumps", "dump_guard.sql")


_GUARD = b"\\set ON_ERROR_STOP on\n\n" + DUMP_GUARD.encode() + b"\n"

_REFUSED = b"\nSET transaction_timeout = 0;"
_TAKEN = (
    b"\nSELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings"
    b" WHERE name = 'transaction_timeout';"
)
# What pg_dump writes next. Nothing before it depends on the ledger.
_END = b"\nSET client_encoding = "
_HEAD_BYTES_MAX = 16 * 1024


async def guarded(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Give a plain dump that all supported servers take, and that unfit databases refuse."""
    source = aiter(pieces)
    beginning = b""
    async for piece in source:
        beginning += piece
        if _END in beginning or len(beginning) > _HEAD_BYTES_MAX:
            break
    # Empty if this is no head that we know; then the dump passes unchanged.
    head = beginning[: max(0, beginning.find(_END, 0, _HEAD_BYTES_MAX))]
    if beginning:
        yield _GUARD + head.replace(_REFUSED, _TAKEN, 1) + beginning[len(head) :]
    async for piece in source:
        yield piece
