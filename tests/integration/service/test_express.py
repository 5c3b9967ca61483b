"""The express lane: ordinary requests take it, others do not, and no answer tells which did."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from freehold.contracts.problems import too_many_requests, unavailable
from freehold.service.application import json_response, new_application
from freehold.service.express import ExpressRequest
from freehold.service.protocol import BoundedHttpProtocol
from integration.service.conversations import Conversation
from support.clients import problem
from support.waiting import eventually

PATH = "/ways"


@asynccontextmanager
async def nothing(_: FastAPI) -> AsyncIterator[None]:
    yield


async def ready() -> dict[str, bool]:
    return {}


@dataclass
class Station:
    """A service that says which way each body came, and answers by the lane when it is told to."""

    server: uvicorn.Server
    stopped: asyncio.Task[None]
    port: int
    http: httpx.AsyncClient
    stack: AsyncExitStack
    taken: list[ExpressRequest] = field(default_factory=list)
    left: int = 0
    """How many requests that were taken have ended."""
    answering: bool = True
    """Whether what is taken is answered at once."""
    fault: Exception | None = None

    undone: int = 0
    """How many went another way after they had been let in."""

    def admit(self, request: ExpressRequest) -> "Station | None":
        """Let anybody in who does not say that they are a stranger, or have had their share."""
        if b"greedy" in request.headers:
            raise too_many_requests("it is enough", 7)
        return None if b"stranger" in request.headers else self

    def serve(self, request: ExpressRequest) -> bool:
        """Take any request but one that asks not to be."""
        if self.fault is not None:
            raise self.fault
        if request.body == b"no":
            return False
        self.taken.append(request)
        if self.answering:
            asyncio.get_running_loop().call_soon(answer, request)
        return True

    def leave(self) -> None:
        self.left += 1

    def undo(self) -> None:
        self.undone += 1

    async def took(self, requests: int) -> None:
        """Wait until so many requests are at work, or were."""

        async def enough() -> bool:
            return len(self.taken) >= requests

        await eventually(enough, f"{requests} requests are taken", within_s=10)

    async def connect(self) -> Conversation:
        conversation = Conversation(*await asyncio.open_connection("127.0.0.1", self.port))
        self.stack.push_async_callback(conversation.close)
        return conversation

    async def ask(self, *sent: bytes) -> httpx.Response:
        """Send pieces, each by itself, on a new connection, and give the answer."""
        conversation = await self.connect()
        for piece in sent:
            conversation.send(piece)
            await asyncio.sleep(0.01)
        return await conversation.answer()


def answer(request: ExpressRequest) -> None:
    request.answer(200, b'"express: %b"' % request.body)


def asking(
    body: bytes = b"x", *lines: str, method: str = "POST", path: str = PATH, version: str = "1.1"
) -> bytes:
    """A request in one piece."""
    head = [f"{method} {path} HTTP/{version}", "host: test", f"content-length: {len(body)}"]
    return "\r\n".join([*head, *lines, "", ""]).encode() + body


@asynccontextmanager
async def station(**limits: Any) -> AsyncIterator[Station]:
    """Serve for a while, as `serve` does."""
    app = new_application(
        title="Test", description="Tests.", lifespan=nothing, readiness=ready, **limits
    )

    @app.post(PATH)
    async def ordinary(request: Request) -> Response:
        if "stranger" in request.headers:
            return json_response(b'"unread"', 401)
        return json_response(b'"ordinary: %b"' % await request.body())

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(
            uvicorn.Config(
                app, http=BoundedHttpProtocol, log_config=None, access_log=False, lifespan="on"
            )
        )
        port: int = listening.getsockname()[1]
        async with (
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False
            ) as http,
            AsyncExitStack() as stack,
        ):
            task = asyncio.create_task(server.serve(sockets=[listening]))
            service = Station(server, task, port, http, stack)
            app.include_express_lane("POST", PATH, service)
            try:
                yield service
            finally:
                server.should_exit = True
                await stack.aclose()
                await task


async def test_a_whole_ordinary_request_takes_the_lane() -> None:
    async with station() as service:
        answered = await service.ask(asking(b"a", "x-request-id: mine"))
        assert answered.text == '"express: a"'
        assert answered.headers["content-type"] == "application/json"
        assert answered.headers["x-request-id"] == "mine"
        assert "date" in answered.headers
        assert len((await service.ask(asking())).headers["x-request-id"]) > 16
        assert service.left == 2
        told = (await service.http.get("/metrics")).text
        assert (
            'freehold_http_request_seconds_count{method="POST",route="/ways",status="200"} 2.0'
            in told
        )


@pytest.mark.parametrize(
    "pieces",
    [
        (asking(b"xyz")[:-3], b"xyz"),
        (asking(b"xyz")[:-1], b"z"),
        (asking(b"xyz")[:20], asking(b"xyz")[20:-2], b"y", b"z"),
        tuple(bytes([byte]) for byte in asking(b"xyz")),
    ],
    ids=["head, body", "cut", "cut twice", "bytes"],
)
async def test_a_request_in_pieces_takes_the_lane(pieces: tuple[bytes, ...]) -> None:
    async with station() as service:
        assert (await service.ask(*pieces)).text == '"express: xyz"'


@pytest.mark.parametrize(
    "pieces",
    [
        (b"POST /ways HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\n\r\n",),
        (asking(b"xyz", "x-more: 1", "x-more: 2"),),
        (asking(b"xyz", "authorization: a", "Authorization: a"),),
        (asking(b"xyz", "expect: 200-maybe"),),
        (asking(b"xyz", path="/ways?a=b"),),
        (asking(b"xyz", path="/w%61ys"),),
    ],
)
async def test_what_is_out_of_the_ordinary_goes_the_ordinary_way(
    pieces: tuple[bytes, ...],
) -> None:
    async with station() as service:
        assert (await service.ask(*pieces)).text == '"ordinary: xyz"'
        assert service.taken == []


async def test_a_large_body_goes_the_ordinary_way() -> None:
    async with station(body_bytes_max=100_000) as service:
        body = b"x" * 65_537
        assert (await service.ask(asking(body))).text == f'"ordinary: {body.decode()}"'
        assert (await service.ask(asking(body[1:]))).text == f'"express: {body[1:].decode()}"'


async def test_what_the_lane_leaves_or_fails_at_goes_the_ordinary_way() -> None:
    async with station() as service:
        assert (await service.ask(asking(b"no"))).text == '"ordinary: no"'
        assert (await service.ask(asking(b"no")[:-1], b"o")).text == '"ordinary: no"'
        service.fault = RuntimeError("trouble")
        assert (await service.ask(asking(b"a"))).text == '"ordinary: a"'
        problem(await service.http.get(PATH), "method-not-allowed")
        # Nothing of it is left counted.
        service.fault = None
        assert (await service.ask(asking(b"a"))).text == '"express: a"'


async def test_requests_on_one_connection_are_answered_in_their_order() -> None:
    async with station() as service:
        service.answering = False
        conversation = await service.connect()
        health = asking(b"", method="GET", path="/healthz")
        conversation.send(asking(b"a") + asking(b"b") + health + asking(b"c"))
        await service.took(1)
        conversation.send(asking(b"d"))
        await asyncio.sleep(0.05)
        answer(service.taken[0])
        heard = [(await conversation.answer()).text for _ in range(5)]
        assert heard == [
            '"express: a"',
            '"ordinary: b"',
            '{"status":"ok"}',
            '"ordinary: c"',
            '"ordinary: d"',
        ]
        # When all is answered the lane is free again.
        service.answering = True
        conversation.send(asking(b"e") + asking(b"f"))
        heard = [(await conversation.answer()).text for _ in range(2)]
        assert heard == ['"express: e"', '"ordinary: f"']


@pytest.mark.parametrize(
    "sent", [asking(b"a", "connection: close"), asking(b"a", version="1.0")], ids=["close", "1.0"]
)
async def test_a_connection_is_closed_after_its_last_answer(sent: bytes) -> None:
    async with station() as service:
        conversation = await service.connect()
        conversation.send(sent)
        answered = await conversation.answer()
        assert answered.text == '"express: a"'
        assert answered.headers["connection"] == "close"
        assert await conversation.is_closed()


async def test_who_hangs_up_is_answered_nothing_and_holds_nothing() -> None:
    async with station(requests_in_flight_max=1, all_bodies_bytes_max=10, body_bytes_max=10) as s:
        s.answering = False
        conversation = await s.connect()
        conversation.send(asking(b"x" * 10))
        await s.took(1)
        problem(await s.ask(asking()), "overloaded")
        await conversation.close()
        await asyncio.sleep(0.05)
        answer(s.taken[0])
        assert s.left == 1
        s.answering = True
        assert (await s.ask(asking(b"x" * 10))).status_code == 200
        problem(await s.ask(asking(b"x" * 11)), "body-too-large")


async def test_one_that_takes_too_long_is_told_so_once() -> None:
    async with station(timeout_s=0.3) as service:
        service.answering = False
        conversation = await service.connect()
        conversation.send(asking(b"a"))
        late = await conversation.answer()
        problem(late, "overloaded")
        assert late.headers["retry-after"] == "1"
        assert service.left == 1
        service.answering = True
        conversation.send(asking(b"b"))
        assert (await conversation.answer()).text == '"express: b"'
        # Whoever has the first answer now is not heard any more.
        answer(service.taken[0])
        service.taken[0].fail(RuntimeError("too late"))
        conversation.send(asking(b"c"))
        assert (await conversation.answer()).text == '"express: c"'


async def test_a_body_that_does_not_come_in_time_is_not_waited_for() -> None:
    async with station(timeout_s=0.3) as service:
        conversation = await service.connect()
        conversation.send(asking(b"abc")[:-1])
        problem(await conversation.answer(), "overloaded")
        # What is left of it is no request.
        conversation.send(b"c" + asking(b"d"))
        assert (await conversation.answer()).text == '"express: d"'


async def test_who_hangs_up_before_the_end_holds_nothing() -> None:
    async with station(requests_in_flight_max=1) as service:
        conversation = await service.connect()
        conversation.send(asking(b"abc")[:-1])

        async def refused() -> bool:
            return (await service.ask(asking())).status_code == 503

        await eventually(refused, "the request has begun", within_s=10)
        await conversation.close()

        async def let_in() -> bool:
            return (await service.ask(asking())).status_code == 200

        await eventually(let_in, "the request is let go", within_s=10)


async def test_who_is_not_let_in_holds_nothing_whatever_they_announce() -> None:
    async with station(requests_in_flight_max=1, all_bodies_bytes_max=10) as service:
        for _ in range(3):
            stranger = await service.connect()
            stranger.send(asking(b"x" * 10, "stranger: yes")[:-1])
            assert (await stranger.answer()).status_code == 401
        assert (await service.ask(asking(b"y"))).text == '"express: y"'
    assert (service.left, service.undone) == (1, 0)


async def test_who_has_had_their_share_is_told_when_to_come_again_and_holds_nothing() -> None:
    async with station(requests_in_flight_max=1, all_bodies_bytes_max=10) as service:
        conversation = await service.connect()
        for _ in range(3):
            # Before the body is there; what is left of it is no request.
            conversation.send(asking(b"x" * 10, "greedy: yes")[:-1])
            refused = await conversation.answer()
            problem(refused, "too-many-requests")
            assert refused.headers["retry-after"] == "7"
            conversation.send(b"x")
        conversation.send(asking(b"y" * 10))
        assert (await conversation.answer()).text == f'"express: {"y" * 10}"'
        problem(await service.ask(asking(b"x", "greedy: yes")), "too-many-requests")
        gone = await service.connect()
        gone.send(asking(b"x", "greedy: yes"))
        await gone.close()

        async def let_in() -> bool:
            return (await service.ask(asking(b"z"))).text == '"express: z"'

        await eventually(let_in, "the refused is let go", within_s=10)
    assert (service.left, service.undone) == (2, 0)


async def test_who_is_let_in_is_served_amid_a_flood_of_the_refused() -> None:
    # More than may wait for their refusal, and hardly more in flight than may wait.
    async with station(requests_in_flight_max=260) as service:
        flood = [await service.connect() for _ in range(300)]
        conversation = await service.connect()
        ended: list[int] = []

        async def answered(whose: Conversation) -> None:
            answer = await whose.answer()
            ended.append(answer.status_code)

        answers = [asyncio.create_task(answered(whose)) for whose in (*flood, conversation)]
        for greedy in flood:
            greedy.send(asking(b"x", "greedy: yes"))
        conversation.send(asking(b"x"))
        await asyncio.gather(*answers)
        assert sorted(ended) == [200] + [429] * 300
        # It came last of all.
        assert ended.index(200) < 100


async def test_one_that_is_left_when_it_is_whole_has_not_been_let_in() -> None:
    async with station() as service:
        assert (await service.ask(asking(b"no"))).text == '"ordinary: no"'
        assert (service.left, service.undone) == (0, 1)


async def test_failures_are_answered_as_problems(capsys: pytest.CaptureFixture[str]) -> None:
    async with station() as service:
        service.answering = False
        for number, (fault, slug) in enumerate(
            [(unavailable("no"), "unavailable"), (RuntimeError("trouble"), "internal")], start=1
        ):
            conversation = await service.connect()
            conversation.send(asking(b"a", "x-request-id: this-one"))
            await service.took(number)
            service.taken[-1].fail(fault)
            failed = await conversation.answer()
            problem(failed, slug)
            assert ("retry-after" in failed.headers) == (slug == "unavailable")
    assert "this-one" in capsys.readouterr().out


async def test_a_server_that_ends_answers_what_it_took() -> None:
    async with station() as service:
        service.answering = False
        conversation, idle = await service.connect(), await service.connect()
        half = await service.connect()
        half.send(asking(b"no")[:-1])
        conversation.send(asking(b"a"))
        await service.took(1)
        service.server.should_exit = True
        assert await idle.is_closed()
        half.send(b"o")
        answered = await half.answer()
        assert (answered.text, answered.headers["connection"]) == ('"ordinary: no"', "close")
        assert await half.is_closed()
        assert not service.stopped.done()
        answer(service.taken[0])
        answered = await conversation.answer()
        assert answered.text == '"express: a"'
        assert answered.headers["connection"] == "close"
        assert await conversation.is_closed()
        await asyncio.wait_for(service.stopped, 10)
