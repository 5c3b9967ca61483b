"""The import's route. Its answer begins while its body is still arriving.

Some proxies, nginx among them, send no more of a body once the answer to it has begun. So a client,
or its proxy, may prefer an answer that begins when all is done.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse
from starlette.types import Receive, Send
from starlette.types import Scope as ASGIScope

from freehold.contracts.errors import Overloaded
from freehold.contracts.events import NEW_EVENT_EXAMPLE
from freehold.contracts.imports import (
    IMPORT_PROGRESS_EXAMPLE,
    IMPORT_RESULT_EXAMPLE,
    NDJSON,
    ImportLine,
    ImportProgress,
    ImportResult,
)
from freehold.http.authentication import authenticate, sole_authorization
from freehold.http.bodies import header_values
from freehold.http.media_types import require
from freehold.http.preferences import APPLIED, preference
from freehold.http.problems import late_body
from freehold.http.response_headers import documented_headers
from freehold.http.schemas import reference, stream_of
from freehold.security.api_keys import Scope
from freehold.tenants.directory import Directory
from freehold.tenants.homes import Home
from freehold_ingest.admission import Admission
from freehold_ingest.appender import Appender
from freehold_ingest.imports import Import, no_events
from freehold_ingest.limits import Limits
from freehold_ingest.requests import refuse_parameters

IMPORT_PATH = "/v1/events/import"
IMPORT_MODELS: tuple[type[BaseModel], ...] = (ImportLine, ImportProgress, ImportResult)

_IMPORTS_MAX = 32
_IMPORTS_PER_TENANT_MAX = 4
_PROGRESS_S = 1.0
_HEADERS = {
    "Cache-Control": "no-store",
    # Without it nginx holds the progress back until the answer is complete (proxy_buffering).
    "X-Accel-Buffering": "no",
}


def _lines(*documents: Any) -> str:
    return "".join(f"{json.dumps(document)}\n" for document in documents)


_REQUEST: dict[str, Any] = {
    "parameters": [
        {
            "name": "Prefer",
            "in": "header",
            "schema": {"type": "string", "maxLength": 1024},
            "description": "`progress=none` has the answer begin when all lines are decided, with"
            " the result alone: for proxies that send no more of a body once its answer has begun.",
        }
    ],
    "requestBody": {
        "required": True,
        "description": "One event on each line, of at most 65,536 bytes. Empty lines are skipped. A"
        " body without any event is refused: with 422 if it has no bytes at all, otherwise in the"
        " last line of the answer.",
        "content": {
            NDJSON: {
                "schema": stream_of(
                    NDJSON,
                    reference(ImportLine),
                    example=_lines(NEW_EVENT_EXAMPLE, {**NEW_EVENT_EXAMPLE, "external_id": "ch_2"}),
                    binary=True,
                )
            }
        },
    },
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A line of progress about each second; the last line has the result.",
        **documented_headers(APPLIED),
        "content": {
            NDJSON: {
                "schema": stream_of(
                    NDJSON,
                    reference(ImportProgress),
                    reference(ImportResult),
                    example=_lines(IMPORT_PROGRESS_EXAMPLE, IMPORT_RESULT_EXAMPLE),
                    binary=True,
                )
            }
        },
    }
}


def import_routes(
    directory: Directory,
    admission: Admission,
    limits: Limits,
    appender: Appender,
    *,
    patience_s: float,
) -> APIRouter:
    """Make the import's route.

    It waits `patience_s` for more bytes, for a ledger that is busy or lost, and for the client to
    read the last line.
    """
    router = APIRouter(tags=["events"])
    under_way: Counter[str] = Counter()

    @asynccontextmanager
    async def beginning(request: Request) -> AsyncIterator[Import]:
        async def caller() -> Home:
            return (await authenticate(directory, sole_authorization(request), Scope.INGEST)).home

        with await admission.let_in(request) as home:
            refuse_parameters(request)
            require(NDJSON, header_values(request, b"content-type"))
            with _permit(under_way, home.tenant_id):
                yield Import(
                    appender, limits, caller, tenant_id=home.tenant_id, patience_s=patience_s
                )

    @router.post(
        IMPORT_PATH,
        operation_id="import_events",
        response_class=Response,
        responses=_RESPONSES,
        summary="Append any number of events, each known by its external_id.",
        openapi_extra=_REQUEST,
    )
    async def post_import(request: Request) -> Response:
        is_quiet = preference(request, "progress") == "none"
        return _ImportResponse(beginning(request), request.stream(), patience_s, is_quiet=is_quiet)

    return router


@contextmanager
def _permit(under_way: Counter[str], tenant_id: str) -> Iterator[None]:
    """Count an import among those under way.

    Raises:
        Overloaded: Too many are under way, in all or of this tenant.
    """
    if under_way.total() >= _IMPORTS_MAX or under_way[tenant_id] >= _IMPORTS_PER_TENANT_MAX:
        raise Overloaded("too many imports are under way already")
    under_way[tenant_id] += 1
    try:
        yield
    finally:
        under_way[tenant_id] -= 1
        if not under_way[tenant_id]:
            del under_way[tenant_id]


class _ImportResponse(StreamingResponse):
    """Reads the body and writes progress, independently of each other.

    A client may send its whole body before it reads anything. So reading never waits for writing:
    progress that the client does not read in time is left out. A client that prefers no progress is
    answered when all is done.
    """

    def __init__(
        self,
        beginning: AbstractAsyncContextManager[Import],
        pieces: AsyncGenerator[bytes, None],
        patience_s: float,
        *,
        is_quiet: bool,
    ) -> None:
        headers = {**_HEADERS, APPLIED: "progress=none"} if is_quiet else _HEADERS
        super().__init__((), headers=headers, media_type=NDJSON)
        self._is_quiet = is_quiet
        self._beginning = beginning
        self._pieces = pieces
        self._patience_s = patience_s

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Import and answer.

        Raises:
            DomainError: The request is refused, has no body, or its first byte is late.
            ClientDisconnect: The connection was cut, or the client does not read.
        """
        ended = asyncio.Event()
        answering: asyncio.Task[None] | None = None
        async with AsyncExitStack() as tasks:
            # The permit is free before the client reads the result and may begin another import.
            async with self._beginning as importing:
                pieces = _joined(await self._first_piece(), self._pieces)
                work = await tasks.enter_async_context(_task(importing.run(pieces)))
                self.body_iterator = _progress(importing, ended)
                if not self._is_quiet:
                    answering = await tasks.enter_async_context(_task(self.stream_response(send)))
                await _finished(work)
            ended.set()
            if answering is None:
                answering = await tasks.enter_async_context(_task(self.stream_response(send)))
            try:
                async with asyncio.timeout(self._patience_s):
                    await answering
            except TimeoutError:
                raise ClientDisconnect from None

    async def _first_piece(self) -> bytes:
        try:
            async with asyncio.timeout(self._patience_s):
                first = await anext(self._pieces)
        except TimeoutError:
            raise late_body(self._patience_s) from None
        if not first:
            # The end of the body.
            raise no_events()
        return first


async def _finished(work: asyncio.Task[None]) -> None:
    """Wait until the work is done, or until the server cancels this request to shut down.

    Raises:
        ClientDisconnect: The connection was cut.
    """
    try:
        await asyncio.wait({work})
    except asyncio.CancelledError:
        # Not raised again: the client still gets the result, and then this task ends.
        work.cancel()
        await asyncio.wait({work})
    work.result()


async def _progress(importing: Import, ended: asyncio.Event) -> AsyncIterator[bytes]:
    while not ended.is_set():
        try:
            async with asyncio.timeout(_PROGRESS_S):
                await ended.wait()
        except TimeoutError:
            yield _line(importing.progress())
    yield _line(importing.result())


@asynccontextmanager
async def _task(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run the work as a task while the context lasts."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _line(model: BaseModel) -> bytes:
    return model.model_dump_json(exclude_none=True).encode() + b"\n"
