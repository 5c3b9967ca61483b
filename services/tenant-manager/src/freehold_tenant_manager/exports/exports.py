"""Exports: a tenant's whole ledger as one file, streamed while it is dumped.

If the dump breaks off, so does the connection: a partial file never looks whole.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from freehold.contracts.errors import Overloaded, TooManyRequests, Unavailable
from freehold.http.access import is_head
from freehold.security.key_ring import KeyRing
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.dumps.dumps import DumpError, Dumps, Form
from freehold_tenant_manager.dumps.sources import find_source
from freehold_tenant_manager.exports.final_exports import FinalExports
from freehold_tenant_manager.storage.pieces import pieces_of

_log = structlog.get_logger(__name__)

_RETRY_AFTER_S = 10
_BEGINNING_S = 60
"""By then a dump has begun: it connects within 10 s, locks within 30 s (dumps.py) and reads the
schema in two. Only a server that stopped answering takes longer."""
_PATIENCE_S = 60
"""A client that reads nothing for this time is disconnected: the snapshot burdens the server."""
_ENDINGS: dict[Form, tuple[str, str]] = {
    "sql": ("sql", "application/sql"),
    "custom": ("dump", "application/octet-stream"),
}


class Exports:
    """Makes exports, one of a tenant at a time."""

    def __init__(
        self,
        catalog: Catalog,
        key_ring: KeyRing,
        dumps: Dumps,
        final_exports: FinalExports,
        *,
        in_flight_max: int,
    ) -> None:
        """Set up; `in_flight_max` bounds the exports at a time."""
        self._catalog = catalog
        self._key_ring = key_ring
        self._dumps = dumps
        self._final_exports = final_exports
        self._in_flight_max = in_flight_max
        self._running: Counter[str] = Counter()

    def download(self, tenant_id: str, form: Form) -> "Download":
        """Answer a request with an export: plain SQL, or a file for pg_restore."""
        ending, media_type = _ENDINGS[form]
        name = f"{tenant_id}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.{ending}"
        return Download(
            self._dump(tenant_id, form), partial(self._find, tenant_id), name, media_type
        )

    async def _find(self, tenant_id: str) -> None:
        """Check that there is something to dump.

        Raises:
            NotFound, TenantDeleted, Unavailable: As `find_source` does.
        """
        if await self._final_exports.find(tenant_id) is None:
            await find_source(self._catalog, self._key_ring, tenant_id)

    @asynccontextmanager
    async def _dump(self, tenant_id: str, form: Form) -> AsyncIterator[AsyncIterator[bytes]]:
        """Dump a tenant's ledger, or give the final export of a deleted tenant.

        Raises:
            NotFound, TenantDeleted, Unavailable: As `find_source` does.
            TooManyRequests: An export of the tenant is running.
            Overloaded: Too many exports are running.
        """
        with self._permit(tenant_id):
            final = await self._final_exports.find(tenant_id)
            if final is not None:
                async with self._final_exports.open(tenant_id, final, form) as pieces:
                    yield pieces
                return
            home, version = await find_source(self._catalog, self._key_ring, tenant_id)
            async with self._dumps.dump(home, form, server_version=version) as pieces:
                yield pieces

    @contextmanager
    def _permit(self, tenant_id: str) -> Iterator[None]:
        if self._running[tenant_id]:
            raise TooManyRequests(
                "an export of this tenant is already running", retry_after_s=_RETRY_AFTER_S
            )
        if self._running.total() >= self._in_flight_max:
            raise Overloaded("too many exports are already running", retry_after_s=_RETRY_AFTER_S)
        self._running[tenant_id] += 1
        try:
            yield
        finally:
            del self._running[tenant_id]


class Download(StreamingResponse):
    """An answer that is a file of any size, made while it is sent."""

    def __init__(
        self,
        opening: AbstractAsyncContextManager[AsyncIterator[bytes]],
        finding: Callable[[], Awaitable[None]],
        name: str,
        media_type: str,
    ) -> None:
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
            # Otherwise a proxy would buffer a copy on its disk (nginx, proxy_buffering).
            "X-Accel-Buffering": "no",
        }
        super().__init__((), headers=headers, media_type=media_type)
        self._opening = opening
        self._finding = finding

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file.

        Raises:
            DomainError: There is none, and nothing was sent yet.
            ClientDisconnect: The client left, or does not read.
            DumpError: It is not whole, so the connection must break.
        """
        if is_head(scope):
            # HEAD asks only whether there is a file, so nothing is dumped.
            await self._finding()
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            return
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
            # A failure at the beginning can still be answered in words.
            try:
                async with asyncio.timeout(_BEGINNING_S):
                    first = await anext(pieces, b"")
            except (DumpError, TimeoutError) as error:
                fault = str(error) or f"nothing came for {_BEGINNING_S} s"
                _log.warning("nothing to export", fault=fault)
                raise Unavailable("the tenant's database cannot be dumped now") from error
            self.body_iterator = pieces_of(first, pieces)
            await super().__call__(scope, receive, send_all_but_the_end)
        # The end is sent once the permit is free: the client may ask for the next export at once.
        if end is not None:
            await send_in_time(end)
