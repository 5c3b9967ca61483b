"""The import's route: it is answered while its body is still coming."""

import asyncio
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

from freehold.contracts.imports import NDJSON, ImportLine, ImportProgress, ImportResult
from freehold.contracts.problems import (
    REQUEST_TIMEOUT,
    UNSUPPORTED_MEDIA_TYPE,
    Problem,
    overloaded,
)
from freehold.security.api_keys import Scope
from freehold.service.authentication import authenticate, sole_authorization
from freehold.tenancy.directory import Directory
from freehold.tenancy.homes import Home
from freehold_ingest.admission import Admission
from freehold_ingest.appender import Appender
from freehold_ingest.importing import Import
from freehold_ingest.limits import Limits
from freehold_ingest.requests import refuse_parameters

IMPORT_PATH = "/v1/events/import"
IMPORT_MODELS: tuple[type[BaseModel], ...] = (ImportLine, ImportProgress, ImportResult)

_IMPORTS_MAX = 32
_IMPORTS_PER_TENANT_MAX = 4
_PROGRESS_S = 1.0
_HEADERS = {
    "Cache-Control": "no-store",
    # Or a proxy would keep the progress until all of it is there (nginx, proxy_buffering).
    "X-Accel-Buffering": "no",
}
_REQUEST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "One event on each line, of at most 65,536 bytes. Empty lines are skipped.",
        "content": {NDJSON: {"schema": {"$ref": "#/components/schemas/ImportLine"}}},
    }
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "About each second how far it has come; the last line says how it ended.",
        "content": {
            NDJSON: {
                "schema": {
                    "oneOf": [
                        {"$ref": "#/components/schemas/ImportProgress"},
                        {"$ref": "#/components/schemas/ImportResult"},
                    ]
                }
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

    Args:
        directory: Knows the callers.
        admission: Lets them in.
        limits: Says when one of them may send more.
        appender: Appends what they send.
        patience_s: How long to wait for more bytes, for a ledger that is busy or lost, and for a
            client to read the last line.
    """
    router = APIRouter(tags=["events"])
    going_on: Counter[str] = Counter()

    @asynccontextmanager
    async def beginning(request: Request) -> AsyncIterator[Import]:
        async def caller() -> Home:
            return (await authenticate(directory, sole_authorization(request), Scope.INGEST)).home

        async with admission.of(request) as home:
            refuse_parameters(request)
            _require_ndjson(request)
            with _place(going_on, home.tenant_id):
                yield Import(
                    appender, limits, caller, tenant_id=home.tenant_id, patience_s=patience_s
                )

    @router.post(
        IMPORT_PATH,
        response_class=Response,
        responses=_RESPONSES,
        summary="Append any number of events, each known by its external_id.",
        openapi_extra=_REQUEST,
    )
    async def post_import(request: Request) -> Response:
        return _ImportResponse(beginning(request), request.stream(), patience_s)

    return router


@contextmanager
def _place(going_on: Counter[str], tenant_id: str) -> Iterator[None]:
    """Have a place among the imports for a while.

    Raises:
        Problem: overloaded, where none is free.
    """
    if going_on.total() >= _IMPORTS_MAX or going_on[tenant_id] >= _IMPORTS_PER_TENANT_MAX:
        raise overloaded("too many imports are going on already")
    going_on[tenant_id] += 1
    try:
        yield
    finally:
        going_on[tenant_id] -= 1
        if not going_on[tenant_id]:
            del going_on[tenant_id]


def _require_ndjson(request: Request) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if media_type != NDJSON:
        raise Problem(
            UNSUPPORTED_MEDIA_TYPE, f"send Content-Type: {NDJSON}", headers={"Accept": NDJSON}
        )
    if coding != "identity":
        raise Problem(
            UNSUPPORTED_MEDIA_TYPE,
            "send the lines as they are, without a Content-Encoding",
            headers={"Accept-Encoding": "identity"},
        )


class _ImportResponse(StreamingResponse):
    """Reads the body and tells how it goes, each at its own pace.

    A client may send all of its body before it reads anything. So nothing that is read ever waits
    for something to be told: progress that the client does not take is not told.
    """

    def __init__(
        self,
        beginning: AbstractAsyncContextManager[Import],
        pieces: AsyncGenerator[bytes, None],
        patience_s: float,
    ) -> None:
        super().__init__((), headers=_HEADERS, media_type=NDJSON)
        self._beginning = beginning
        self._pieces = pieces
        self._patience_s = patience_s

    async def __call__(self, scope: ASGIScope, receive: Receive, send: Send) -> None:
        """Import and answer.

        Raises:
            Problem: The request is refused, or not even its first byte comes.
            ClientDisconnect: The connection was cut, or its other end does not read.
        """
        ended = asyncio.Event()
        async with AsyncExitStack() as tasks:
            # Its place is free before the client hears that it is done, and may begin another.
            async with self._beginning as importing:
                pieces = _joined(await self._first_piece(), self._pieces)
                work = await tasks.enter_async_context(_task(importing.run(pieces)))
                self.body_iterator = _told(importing, ended)
                telling = await tasks.enter_async_context(_task(self.stream_response(send)))
                await _finished(work)
            ended.set()
            try:
                async with asyncio.timeout(self._patience_s):
                    await telling
            except TimeoutError:
                raise ClientDisconnect from None

    async def _first_piece(self) -> bytes:
        try:
            async with asyncio.timeout(self._patience_s):
                return await anext(self._pieces)
        except TimeoutError:
            raise Problem(REQUEST_TIMEOUT, f"no bytes came for {self._patience_s:g} s") from None


async def _finished(work: asyncio.Task[None]) -> None:
    """Wait until the work is done, or until the server cancels us since it ends itself.

    Raises:
        ClientDisconnect: The connection was cut.
    """
    try:
        await asyncio.wait({work})
    except asyncio.CancelledError:
        # Not passed on, as the client is still to be told so, and that is the end of this task.
        work.cancel()
        await asyncio.wait({work})
    work.result()


async def _told(importing: Import, ended: asyncio.Event) -> AsyncIterator[bytes]:
    while not ended.is_set():
        try:
            async with asyncio.timeout(_PROGRESS_S):
                await ended.wait()
        except TimeoutError:
            yield _line(importing.progress())
    yield _line(importing.result())


@asynccontextmanager
async def _task(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Have the work done meanwhile, and not for longer than that."""
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
