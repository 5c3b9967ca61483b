"""A service of nothing but what all services have, with a few routes to try that on."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from freehold.http.application import Check, json_response, new_application
from freehold.http.bodies import read_body
from freehold.http.server import DECISIONS
from integration.http.conversations import Conversation
from support.waiting import eventually

STREAM = "/stream"
PARTS = "/parts"
JSON = "/json"


@asynccontextmanager
async def nothing(_: FastAPI) -> AsyncIterator[None]:
    yield


async def ready() -> dict[str, Check]:
    return {}


async def iterate() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65_536
        await asyncio.sleep(0)


@dataclass
class Service:
    """A service that answers with the length of what it is sent, on a port of this machine."""

    port: int
    http: httpx.AsyncClient
    stack: AsyncExitStack
    parts: asyncio.Queue[bytes]
    """The answer to a request for parts has the pieces put in here, up to an empty one."""

    async def connect(self) -> Conversation:
        """Connect, and send nothing yet."""
        conversation = Conversation(*await asyncio.open_connection("127.0.0.1", self.port))
        self.stack.push_async_callback(conversation.close)
        return conversation

    async def begin(self, size: int | None, path: str = "/length") -> Conversation:
        """Send a request's head, and of its body nothing yet; without a size it has no end."""
        conversation = await self.connect()
        framing = "transfer-encoding: chunked" if size is None else f"content-length: {size}"
        conversation.send(f"POST {path} HTTP/1.1\r\nhost: test\r\n{framing}\r\n\r\n".encode())
        return conversation

    async def length(self, body: bytes = b"") -> httpx.Response:
        return await self.http.post("/length", content=body)

    async def until_refused(self, body: bytes) -> httpx.Response:
        """Ask until what was begun before has arrived, and stands in the way."""

        async def refused() -> httpx.Response | None:
            answer = await self.length(body)
            return answer if answer.status_code != 200 else None

        return await eventually(refused, "a request is refused")


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[Service]:
    """Serve for a while, as `serve` does."""
    app = new_application(
        title="Test", description="Tests.", lifespan=nothing, readiness=ready, **limits
    )
    app.router.tags = ["operations"]

    @app.post("/length")
    async def length(request: Request) -> Response:
        return json_response(b"%d" % len(await request.body()))

    @app.post(JSON)
    async def json_length(request: Request) -> Response:
        return json_response(b"%d" % len(await read_body(request)))

    @app.get(JSON)
    async def get_json() -> Response:
        return json_response(b'"here"', headers={"Cache-Control": "private"})

    @app.get(PARTS)
    async def endless() -> Response:
        return StreamingResponse(iterate())

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError

    @app.post(STREAM)
    async def stream(request: Request) -> Response:
        return json_response(b"%d" % sum([len(piece) async for piece in request.stream()]))

    parts: asyncio.Queue[bytes] = asyncio.Queue()

    async def pieces() -> AsyncIterator[bytes]:
        while part := await parts.get():
            yield part

    @app.post(PARTS)
    async def answer_in_parts() -> Response:
        return StreamingResponse(pieces())

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, **DECISIONS))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        port: int = listening.getsockname()[1]
        try:
            async with (
                httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False
                ) as http,
                AsyncExitStack() as stack,
            ):
                yield Service(port, http, stack, parts)
        finally:
            server.should_exit = True
            await task
