"""Query beside what its reads are compared with, in one process: `python -m bench.compared`.

- `/layered/v1/…` is each read of balances behind FastAPI's layers, as routes usually are.
- `/echo` is a bare ASGI application on the same server: it does nothing but answer as many bytes.
- `/redis/v1/…` reads the same document from a Redis at the port in `REDIS_PORT`. It does all else
  as query does: the same authentication, batching and headers.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence

from fastapi import APIRouter, Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.http.direct import Endpoint, Reply
from freehold.http.media_types import JSON
from freehold.http.server import serve
from freehold.observability.logs import configure_logs
from freehold.security import api_keys
from freehold.tenants.access import TenantAccess
from freehold.tenants.batcher import Batcher, Take
from freehold.tenants.homes import Home
from freehold_query.answers import answer
from freehold_query.application import make_application
from freehold_query.readers import Readers
from freehold_query.settings import Settings
from freehold_query.tokens import ReadTokens

_BODY = b"x" * 330
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"330")]


def main() -> None:
    """Serve as query does, with its settings."""
    port = os.environ.pop("REDIS_PORT", None)
    settings = Settings.from_environment()
    configure_logs("query", settings.log_level, settings.log_format)
    app = make_application(settings)
    if found := app.direct_routes.find("GET", "/v1/accounts/a/balances"):
        route, _ = found
        app.add_api_route(f"/layered{route.path}", layered(route.endpoint))
    if port is not None:
        app.include_direct_routes(redis_routes(settings, int(port)))
    app.front = beside(app.front)
    serve(app, settings)


def layered(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """Make a FastAPI endpoint of a direct one."""

    async def respond(request: Request) -> Response:
        reply = await endpoint(request)
        return Response(reply.body, reply.status, dict(reply.headers), JSON)

    return respond


def beside(app: ASGIApp) -> ASGIApp:
    """Put the echo beside an application."""

    async def serve_either(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/echo":
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": _BODY})
        else:
            await app(scope, receive, send)

    return serve_either


def redis_routes(settings: Settings, port: int) -> APIRouter:
    """Make the route that reads from Redis."""
    tenants = TenantAccess(settings, application="bench", timeout_s=settings.database_timeout_s)
    readers = Readers(tenants.directory, ReadTokens(tenants.key_ring))
    redis = Redis(port)
    batcher = Batcher(
        redis.balances,
        name="balances",
        call_weight_max=1_000,
        waiting_weight_max=10_000,
        all_waiting_weight_max=10_000,
    )
    router = APIRouter()

    @router.get("/redis/v1/accounts/{account_id}/balances", response_model=None)
    async def balances(request: Request) -> Reply:
        await redis.open(tenants)
        reader = await readers.reader(request, api_keys.Scope.READ)
        body = await batcher.submit(reader.home, request.path_params["account_id"])
        return answer(request, body)

    return router


class Redis:
    """One connection to Redis: one MGET at a time, for as many accounts as wait."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._opening = asyncio.Lock()

    async def open(self, tenants: TenantAccess) -> None:
        """Connect, once, to Redis and to the catalog."""
        if self._streams is None:
            async with self._opening:
                if self._streams is None:
                    await tenants.catalog.open(tenants.directory.changed)
                    self._streams = await asyncio.open_connection("127.0.0.1", self._port)

    async def balances(self, _: Home, take: Take[str]) -> Sequence[bytes]:
        """Read the documents of accounts, each in JSON."""
        assert self._streams is not None
        reader, writer = self._streams
        keys = [f"balances:{account_id}".encode() for account_id in take()]
        writer.write(b"*%d\r\n$4\r\nMGET\r\n" % (len(keys) + 1) + b"".join(map(_bulk, keys)))
        received = b""
        while received.count(b"}\r\n") < len(keys):
            received += await reader.read(1 << 20)
        return list(_documents(received))


def _bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


def _documents(received: bytes) -> Iterator[bytes]:
    at = received.index(b"\r\n") + 2
    while at < len(received):
        end = received.index(b"\r\n", at)
        length = int(received[at + 1 : end])
        yield received[end + 2 : end + 2 + length]
        at = end + 4 + length


if __name__ == "__main__":
    main()
