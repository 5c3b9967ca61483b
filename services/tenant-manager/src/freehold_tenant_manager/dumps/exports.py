"""Exports: a tenant's whole ledger as one file, streamed while it is dumped.

A file that is not whole never looks so: where the dump breaks off, so does the connection.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from freehold.contracts.problems import overloaded, too_many_requests, unavailable
from freehold.security.sealing import KeyRing
from freehold.tenancy.catalog import Catalog
from freehold_tenant_manager.catalog.sources import find_source
from freehold_tenant_manager.dumps.dumping import DumpError, Dumping, Form
from freehold_tenant_manager.dumps.final_exports import FinalExports
from freehold_tenant_manager.storage.pieces import pieces_of

_log = structlog.get_logger(__name__)

_RETRY_AFTER_S = 10
_BEGINNING_S = 60
"""By then a dump has begun: connecting takes it 10 s at most and locks 30 (dumping.py), and reading
what the schema has a second or two. Only a server that has fallen silent takes longer."""
_PATIENCE_S = 60
"""A client who takes no byte for so long is left: their ledger's snapshot costs its server."""
_ENDINGS: dict[Form, tuple[str, str]] = {
    "sql": ("sql", "application/sql"),
    "custom": ("dump", "application/octet-stream"),
}


class Exports:
    """Makes exports, few at once."""

    def __init__(
        self,
        catalog: Catalog,
        key_ring: KeyRing,
        dumping: Dumping,
        final_exports: FinalExports,
        *,
        in_flight_max: int,
    ) -> None:
        """Say where tenants are found, and how many exports go on at once."""
        self._catalog = catalog
        self._key_ring = key_ring
        self._dumping = dumping
        self._final_exports = final_exports
        self._in_flight_max = in_flight_max
        self._going_on: Counter[str] = Counter()

    def download(self, tenant_id: str, form: Form) -> "Download":
        """Answer a request with an export: plain SQL, or what only pg_restore reads."""
        ending, media_type = _ENDINGS[form]
        name = f"{tenant_id}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{ending}"
        return Download(self._dump(tenant_id, form), name, media_type)

    @asynccontextmanager
    async def _dump(self, tenant_id: str, form: Form) -> AsyncIterator[AsyncIterator[bytes]]:
        """Dump a tenant's ledger, or give what was dumped when they were deleted.

        Raises:
            Problem: not-found; too-many-requests or overloaded, where too many exports go on
                already; unavailable, where nothing can be dumped now.
        """
        with self._place(tenant_id):
            final = await self._final_exports.find(tenant_id)
            if final is not None:
                async with self._final_exports.open(tenant_id, final, form) as pieces:
                    yield pieces
                return
            home, version = await find_source(self._catalog, self._key_ring, tenant_id)
            async with self._dumping.dump(home, form, server_version=version) as pieces:
                yield pieces

    @contextmanager
    def _place(self, tenant_id: str) -> Iterator[None]:
        if self._going_on[tenant_id]:
            raise too_many_requests(
                "an export of this tenant is going on already", retry_after_s=_RETRY_AFTER_S
            )
        if self._going_on.total() >= self._in_flight_max:
            raise overloaded("too many exports are going on already", retry_after_s=_RETRY_AFTER_S)
        self._going_on[tenant_id] += 1
        try:
            yield
        finally:
            del self._going_on[tenant_id]


class Download(StreamingResponse):
    """An answer that is a file of any size, made while it is read."""

    def __init__(
        self,
        opening: AbstractAsyncContextManager[AsyncIterator[bytes]],
        name: str,
        media_type: str,
    ) -> None:
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
            # Or a proxy would keep a copy on its disk (nginx, proxy_buffering).
            "X-Accel-Buffering": "no",
        }
        super().__init__((), headers=headers, media_type=media_type)
        self._opening = opening

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file.

        Raises:
            Problem: There is none, and nothing was sent yet.
            ClientDisconnect: The client is gone, or does not read.
            DumpError: It is not whole, and the connection is to break.
        """
        end: Message | None = None

        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        async def send_all_but_the_end(message: Message) -> None:
            nonlocal end
            if message["type"] == "http.response.body" and not message.get("more_body"):
                end = message
            else:
                await send_in_time(message)

        async with self._opening as pieces:
            # What goes wrong at once can still be told in words.
            try:
                async with asyncio.timeout(_BEGINNING_S):
                    first = await anext(pieces, b"")
            except (DumpError, TimeoutError) as error:
                fault = str(error) or f"nothing came for {_BEGINNING_S} s"
                _log.warning("nothing to export", fault=fault)
                raise unavailable("the tenant's database cannot be dumped now") from error
            self.body_iterator = pieces_of(first, pieces)
            await super().__call__(scope, receive, send_all_but_the_end)
        # Whoever hears the end may want the next one at once: only now is there a place for it.
        if end is not None:
            await send_in_time(end)
