"""What a service lets in: no more than it can hold, and nobody who only stands in the door."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from freehold.service import protocol
from freehold.service.application import json_response, new_application
from freehold.service.protocol import BoundedHttpProtocol
from integration.service.conversations import Conversation
from support.clients import problem
from support.waiting import eventually

STREAM = "/stream"
PARTS = "/parts"


@asynccontextmanager
async def nothing(_: FastAPI) -> AsyncIterator[None]:
    yield


async def ready() -> dict[str, bool]:
    return {}


@dataclass
class Service:
    """A service that answers with the length of what it is sent, on a port of this machine."""

    port: int
    http: httpx.AsyncClient
    stack: AsyncExitStack
    parts: asyncio.Queue[bytes]
    """What is put in here is told to who asks for parts, to an empty one."""

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

        return await eventually(refused, "a request is refused", within_s=10)


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[Service]:
    """Serve for a while, as `serve` does."""
    app = new_application(
        title="Test", description="Tests.", lifespan=nothing, readiness=ready, **limits
    )

    @app.post("/length")
    async def length(request: Request) -> Response:
        return json_response(b"%d" % len(await request.body()))

    @app.post(STREAM)
    async def stream(request: Request) -> Response:
        return json_response(b"%d" % sum([len(piece) async for piece in request.stream()]))

    parts: asyncio.Queue[bytes] = asyncio.Queue()

    async def told() -> AsyncIterator[bytes]:
        while part := await parts.get():
            yield part

    @app.post(PARTS)
    async def tell() -> Response:
        return StreamingResponse(told())

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(
            uvicorn.Config(app, http=BoundedHttpProtocol, log_config=None, lifespan="on")
        )
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


async def test_more_requests_than_can_be_worked_on_are_refused_at_once() -> None:
    async with serving(requests_in_flight_max=3, streaming_paths=frozenset({STREAM})) as service:
        for path in ("/length", "/length", STREAM):
            begun = await service.begin(1, path)
        answer = await service.until_refused(b"x")
        problem(answer, "overloaded")
        assert answer.headers["retry-after"] == "1"
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await service.http.get(path)).status_code == 200
        assert "requests_in_flight_max" in (await service.http.get("/metrics")).text
        begun.send(b"x")
        assert await begun.status() == 200
        assert (await service.length(b"x")).text == "1"


@pytest.mark.parametrize("told", [True, False])
async def test_more_bytes_than_can_be_held_are_refused(*, told: bool) -> None:
    async with serving(body_bytes_max=60, all_bodies_bytes_max=100) as service:
        begun = await service.begin(60 if told else None)
        if not told:
            begun.send_piece(b"x" * 60)
        answer = await service.until_refused(b"x" * 50)
        problem(answer, "overloaded")
        assert answer.headers["retry-after"] == "1"
        # One that comes in pieces is refused as soon as a piece is too much.
        in_pieces = await service.begin(None)
        in_pieces.send_piece(b"x" * 50)
        assert await in_pieces.status() == 503
        assert (await service.length(b"x" * 40)).text == "40"
        begun.send(b"x" * 60 if told else b"0\r\n\r\n")
        assert await begun.status() == 200
        # All that was held has been let go of.
        assert (await service.length(b"x" * 50)).text == "50"


@pytest.mark.parametrize("told", [True, False])
async def test_a_body_that_is_too_large_by_itself_will_never_fit(*, told: bool) -> None:
    async with serving(body_bytes_max=60) as service:
        begun = await service.begin(61 if told else None)
        if not told:
            begun.send_piece(b"x" * 61)
        assert await begun.status() == 413


async def test_a_body_that_does_not_come_in_time_is_not_waited_for() -> None:
    async with serving(timeout_s=0.3, streaming_paths=frozenset({STREAM})) as service:
        begun, longer = await service.begin(2), await service.begin(2, STREAM)
        for conversation in (begun, longer):
            conversation.send(b"x")
        assert await begun.status() == 503
        # A request that came later has its own time; a stream has all the time there is.
        assert (await service.length(b"x")).text == "1"
        longer.send(b"x")
        assert await longer.status() == 200


@pytest.mark.parametrize("path", [STREAM, "/{any}"])
async def test_a_stream_may_have_any_length(path: str) -> None:
    async with serving(
        body_bytes_max=10, all_bodies_bytes_max=20, streaming_paths=frozenset({path})
    ) as service:
        answer = await service.http.post(STREAM, content=b"x" * 100_000)
        assert answer.text == "100000"


async def test_an_answer_is_sent_as_far_as_it_is_there() -> None:
    async with serving() as service:
        asked = await service.begin(0, PARTS)
        assert await asked.status() == 200
        for part in (b"first", b"x" * 200_000):
            await service.parts.put(part)
            await asked.hear(b"%x\r\n%b\r\n" % (len(part), part))
        await service.parts.put(b"")
        await asked.hear(b"0\r\n\r\n")
        for size in (0, 1, 60_000):
            assert (await service.length(b"x" * size)).text == str(size)


async def test_a_head_without_end_is_cut_off() -> None:
    async with serving() as service:
        endless = await service.connect()
        endless.send(b"GET /healthz HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            await endless.go_on(b"x-more: " + b"x" * 8_000 + b"\r\n", times=10_000)
        # One that is long, and comes in pieces, is taken.
        long = httpx.Headers({f"x-{number}": "x" * 1_000 for number in range(50)})
        assert (await service.http.get("/healthz", headers=long)).status_code == 200


async def test_trailers_without_end_are_cut_off_and_say_nothing_of_the_request() -> None:
    chunked = b"POST /length HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n"
    async with serving() as service:
        for field in (b"x-more: " + b"x" * 8_000 + b"\r\n", b"a: b\r\n" * 1_000, b"x" * 8_000):
            endless = await service.connect()
            endless.send(chunked + b"1\r\na\r\n0\r\n")
            with pytest.raises(ConnectionError):
                await endless.go_on(field, times=10_000)
        asking = await service.connect()
        asking.send(chunked + b"1\r\na\r\n0\r\nx-request-id: from-a-trailer\r\n\r\n")
        answer = await asking.answer()
        assert (answer.status_code, answer.text) == (200, "1")
        assert answer.headers["x-request-id"] != "from-a-trailer"


OFFERS = {
    "h2c": "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQ",
    "websocket": "connection: keep-alive, upgrade\r\nupgrade: websocket",
    "twice": "connection: upgrade\r\nconnection: x-mine\r\nupgrade: a\r\nupgrade: b\r\nx-mine: c",
}


@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize(
    ("framing", "body"),
    [
        ("content-length: 5", b"hello"),
        ("transfer-encoding: chunked", b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    ],
    ids=["sized", "chunked"],
)
async def test_an_offer_of_another_protocol_takes_nothing_from_a_request(
    offer: str, framing: str, body: bytes
) -> None:
    head = f"POST /length HTTP/1.1\r\nhost: test\r\n{offer}\r\n{framing}\r\n\r\n".encode()
    async with serving() as service:
        asking = await service.connect()
        # All at once, and in two pieces: cut before the body, in it, and in the head.
        for cut in (0, len(head), len(head) + 3, len(head) - 20):
            asking.send((head + body)[:cut])
            await asyncio.sleep(0.02)
            asking.send((head + body)[cut:])
            answer = await asking.answer()
            assert (answer.status_code, answer.text) == (200, "5")
            assert "upgrade" not in answer.headers
        # What comes behind it is the next request.
        asking.send((head + body) * 500)
        for _ in range(500):
            assert (await asking.answer()).text == "5"


async def test_an_offer_with_the_wish_to_end_is_answered_and_ended() -> None:
    async with serving() as service:
        asking = await service.connect()
        asking.send(
            b"POST /length HTTP/1.1\r\nhost: test\r\nconnection: close, Upgrade\r\n"
            b"upgrade: h2c\r\ncontent-length: 2\r\n\r\nhi"
        )
        assert (await asking.answer()).text == "2"
        assert await asking.is_closed()
        tunnel = await service.connect()
        tunnel.send(b"CONNECT test:443 HTTP/1.1\r\nhost: test:443\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        assert (await tunnel.answer()).status_code == 400
        assert await tunnel.is_closed()


@pytest.mark.parametrize(
    "sent", [b"", b"GET /healthz", b"GET /healthz HTTP/1.1\r\nhost: ", b"\r\n"]
)
async def test_who_does_not_ask_is_not_waited_for(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.2)
    async with serving() as service:
        silent = await service.connect()
        silent.send(sent)
        assert await silent.is_closed()
        # Who is being worked for is not taken for silent.
        begun = await service.begin(2)
        await asyncio.sleep(0.4)
        begun.send(b"xx")
        assert await begun.status() == 200
