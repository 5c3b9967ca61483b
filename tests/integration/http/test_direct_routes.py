"""Direct routes and FastAPI's own: no answer shows by which of the two a request went."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import APIRouter, Request, Response

from freehold.contracts.errors import TooManyRequests, Unauthorized, Unavailable
from freehold.http.application import json_response, new_application
from freehold.http.bodies import read_body
from freehold.http.direct import Reply
from freehold.http.headers import STANDARD
from freehold.http.server import DECISIONS
from integration.http.conversations import Conversation
from integration.http.serving import nothing, ready
from support.answers import problem
from support.waiting import eventually

PATHS = ["/direct/7", "/layered/7"]


@dataclass
class Station:
    """A service with the same endpoint behind a direct route and behind one of FastAPI's."""

    path: str
    server: uvicorn.Server
    stopped: asyncio.Task[None]
    port: int
    http: httpx.AsyncClient
    stack: AsyncExitStack
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether requests are answered at once."""
    taken: int = 0
    fault: Exception | None = None

    async def serve(self, request: Request) -> bytes:
        """Answer with the body, unless the caller is a stranger or has sent too much."""
        assert request.path_params == {"number_id": "7"}
        if "stranger" in request.headers:
            raise Unauthorized("who are you?")
        if "greedy" in request.headers:
            raise TooManyRequests("it is enough", retry_after_s=7)
        body = await read_body(request)
        self.taken += 1
        await self.answering.wait()
        if self.fault is not None:
            raise self.fault
        return b'"%b"' % body

    async def took(self, requests: int) -> None:
        """Wait until this many requests were taken."""

        async def enough() -> bool:
            return self.taken >= requests

        await eventually(enough, f"{requests} requests are taken")

    async def connect(self) -> Conversation:
        conversation = Conversation(*await asyncio.open_connection("127.0.0.1", self.port))
        self.stack.push_async_callback(conversation.close)
        return conversation

    def asking(
        self,
        body: bytes = b"x",
        *lines: str,
        method: str = "POST",
        path: str = "",
        version: str = "1.1",
    ) -> bytes:
        """A request in one piece."""
        first = f"{method} {path or self.path} HTTP/{version}"
        head = [first, "host: test", f"content-length: {len(body)}", *lines]
        return "\r\n".join([*head, "", ""]).encode() + body

    async def ask(self, *sent: bytes) -> httpx.Response:
        """Send pieces, each by itself, on a new connection, and give the answer."""
        conversation = await self.connect()
        for piece in sent:
            conversation.send(piece)
            await asyncio.sleep(0.01)
        return await conversation.answer()


@asynccontextmanager
async def station(path: str, **limits: Any) -> AsyncIterator[Station]:
    """Serve for a while, as `serve` does."""
    app = new_application(
        title="Test", description="Tests.", lifespan=nothing, readiness=ready, **limits
    )
    direct = APIRouter()

    async def reply(request: Request) -> Reply:
        return Reply(200, await service.serve(request))

    async def kept(request: Request) -> Reply:
        same = "if-none-match" in request.headers
        headers = {"Cache-Control": "private", "ETag": '"a"'}
        return Reply(304, b"", headers) if same else Reply(200, b"true", headers)

    direct.add_api_route("/direct/{number_id}", reply, methods=["POST"], response_model=None)
    direct.add_api_route("/kept", kept, response_model=None)
    app.include_direct_routes(direct)

    @app.post("/layered/{number_id}")
    async def layered(request: Request) -> Response:
        return json_response(await service.serve(request))

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, **DECISIONS))
        port: int = listening.getsockname()[1]
        async with (
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False
            ) as http,
            AsyncExitStack() as stack,
        ):
            task = asyncio.create_task(server.serve(sockets=[listening]))
            service = Station(path, server, task, port, http, stack)
            service.answering.set()
            try:
                yield service
            finally:
                server.should_exit = True
                await stack.aclose()
                await task


@pytest.fixture(params=PATHS)
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_an_answer_has_the_common_headers_and_is_measured(path: str) -> None:
    async with station(path) as service:
        answered = await service.ask(service.asking(b"a", "x-request-id: mine"))
        assert answered.text == '"a"'
        assert answered.headers["content-type"] == "application/json"
        for name, value in STANDARD:
            assert answered.headers.get_list(name.decode()) == [value.decode()]
        assert "server" not in answered.headers
        assert answered.headers["x-request-id"] == "mine"
        assert "date" in answered.headers
        assert len((await service.ask(service.asking())).headers["x-request-id"]) > 16
        metrics = (await service.http.get("/metrics")).text
        route = path.replace("7", "{number_id}")
        assert (
            f'freehold_http_request_seconds_count{{method="POST",route="{route}",status="200"}} 2.0'
            in metrics
        )


async def test_pages_of_named_origins_may_read(path: str) -> None:
    async with station(path, origins=["https://app.example.com"]) as service:
        for origin, allowed in (
            ("https://app.example.com", "https://app.example.com"),
            ("https://other.example.com", None),
        ):
            for line, status in (("x: y", 200), ("stranger: yes", 401), ("greedy: yes", 429)):
                sent = service.asking(b"a", f"origin: {origin}", line)
                answered = await service.ask(sent)
                assert answered.status_code == status
                assert answered.headers.get("access-control-allow-origin") == allowed
                assert "Origin" in answered.headers["vary"]
                assert "access-control-allow-credentials" not in answered.headers
                exposed = answered.headers["access-control-expose-headers"].split(", ")
                assert {"ETag", "Retry-After", "Preference-Applied"} <= set(exposed)
        assert (await service.ask(service.asking(b"a"))).text == '"a"'


async def test_no_page_may_read_where_no_origin_is_named(path: str) -> None:
    async with station(path) as service:
        answered = await service.ask(service.asking(b"a", "origin: https://app.example.com"))
        assert answered.text == '"a"'
        assert not [name for name in answered.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("method", "line", "status", "body", "length"),
    [
        ("GET", "x: y", 200, b"true", "4"),
        ("GET", 'if-none-match: "a"', 304, b"", None),
        ("HEAD", "x: y", 200, b"", "4"),
        ("HEAD", 'if-none-match: "a"', 304, b"", None),
    ],
)
async def test_an_answer_may_be_kept_by_its_client(
    method: str, line: str, status: int, body: bytes, length: str | None
) -> None:
    async with station("/kept") as service:
        conversation = await service.connect()
        for _ in range(2):
            conversation.send(service.asking(b"", line, method=method))
            answered = await conversation.answer(method)
            assert (answered.status_code, answered.content) == (status, body)
            assert answered.headers.get("content-length") == length
            assert answered.headers.get_list("cache-control") == ["private"]
            assert answered.headers["etag"] == '"a"'
            assert ("content-type" in answered.headers) is (status == 200)


@pytest.mark.parametrize("cuts", [[-3], [-1], [20, -2, -1], range(1, 80)])
async def test_a_request_may_come_in_pieces(path: str, cuts: list[int]) -> None:
    async with station(path) as service:
        sent = service.asking(b"xyz")
        ends = [0, *(cut % len(sent) for cut in cuts if cut < len(sent)), len(sent)]
        pieces = [sent[start:end] for start, end in pairwise(ends)]
        assert (await service.ask(*pieces)).text == '"xyz"'


@pytest.mark.parametrize(
    "lines",
    [
        ("x-more: 1", "x-more: 2"),
        ("authorization: a", "Authorization: a"),
        ("expect: 200-maybe",),
        ("content-type: application/json; charset=UTF-8",),
        ("content-encoding: identity",),
    ],
)
async def test_unusual_heads_are_taken(path: str, lines: tuple[str, ...]) -> None:
    async with station(path) as service:
        assert (await service.ask(service.asking(b"xyz", *lines))).text == '"xyz"'


async def test_bodies_and_targets_may_be_written_in_other_ways(path: str) -> None:
    async with station(path, body_bytes_max=100_000) as service:
        head = f"POST {path} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n"
        answered = await service.ask(head.encode(), b"3\r\nxyz\r\n0\r\n\r\n")
        assert answered.text == '"xyz"'
        expecting = await service.connect()
        whole = service.asking(b"xyz", "expect: 100-continue")
        expecting.send(whole[:-3])
        await expecting.hear(b"HTTP/1.1 100 Continue\r\n\r\n")
        expecting.send(whole[-3:])
        assert (await expecting.answer()).text == '"xyz"'
        for target in (f"{path}?a=b", path.replace("r", "%72")):
            assert (await service.ask(service.asking(b"xyz", path=target))).text == '"xyz"'
        body = b"x" * 65_537
        assert (await service.ask(service.asking(body))).text == f'"{body.decode()}"'


@pytest.mark.parametrize("media_type", ["text/plain", "application/json; charset=utf-16"])
async def test_other_media_types_are_refused(path: str, media_type: str) -> None:
    async with station(path) as service:
        refused = await service.ask(service.asking(b"xyz", f"content-type: {media_type}"))
        problem(refused, "unsupported-media-type")


@pytest.mark.parametrize("line", ["host: other", "host: a/b"])
async def test_an_invalid_host_is_refused(path: str, line: str) -> None:
    async with station(path) as service:
        twice = service.asking(b"a", line)
        for sent in (twice, twice.replace(b"host: test\r\n", b"").replace(line.encode(), b"x: y")):
            problem(await service.ask(sent), "malformed-request")
        conversation = await service.connect()
        conversation.send(service.asking(b"a") + service.asking(b"b") + twice)
        assert (await conversation.answer()).text == '"a"'
        assert (await conversation.answer()).text == '"b"'
        problem(await conversation.answer(), "malformed-request")
        assert await conversation.is_closed()


async def test_requests_on_one_connection_are_answered_in_their_order(path: str) -> None:
    async with station(path) as service:
        service.answering.clear()
        conversation = await service.connect()
        health = service.asking(b"", method="GET", path="/healthz")
        conversation.send(
            service.asking(b"a") + service.asking(b"b") + health + service.asking(b"c")
        )
        await service.took(1)
        conversation.send(service.asking(b"d"))
        await asyncio.sleep(0.05)
        service.answering.set()
        alive = (await service.http.get("/healthz")).text
        heard = [(await conversation.answer()).text for _ in range(5)]
        assert heard == ['"a"', '"b"', alive, '"c"', '"d"']


@pytest.mark.parametrize(("line", "version"), [("connection: close", "1.1"), ("x: y", "1.0")])
async def test_a_connection_is_closed_after_its_last_answer(
    path: str, line: str, version: str
) -> None:
    async with station(path) as service:
        conversation = await service.connect()
        conversation.send(service.asking(b"a", line, version=version))
        answered = await conversation.answer()
        assert answered.text == '"a"'
        assert answered.headers["connection"] == "close"
        assert await conversation.is_closed()


async def test_a_client_that_hangs_up_holds_nothing(path: str) -> None:
    limits = {"requests_in_flight_max": 1, "all_bodies_bytes_max": 10, "body_bytes_max": 10}
    async with station(path, **limits) as service:
        service.answering.clear()
        conversation = await service.connect()
        conversation.send(service.asking(b"x" * 10))
        await service.took(1)
        problem(await service.ask(service.asking()), "overloaded")
        await conversation.close()
        service.answering.set()

        async def let_in() -> bool:
            return (await service.ask(service.asking(b"x" * 10))).status_code == 200

        await eventually(let_in, "the request is let go")
        problem(await service.ask(service.asking(b"x" * 11)), "body-too-large")


async def test_a_late_request_is_answered_once(path: str) -> None:
    async with station(path, timeout_s=1) as service:
        service.answering.clear()
        conversation = await service.connect()
        conversation.send(service.asking(b"a"))
        late = await conversation.answer()
        problem(late, "overloaded")
        assert late.headers["retry-after"] == "1"
        service.answering.set()
        for body in (b"b", b"c"):
            conversation.send(service.asking(body))
            assert (await conversation.answer()).content == b'"%b"' % body


async def test_a_body_that_does_not_come_in_time_is_not_waited_for(path: str) -> None:
    async with station(path, timeout_s=1) as service:
        conversation = await service.connect()
        conversation.send(service.asking(b"abc")[:-1])
        late = await conversation.answer()
        problem(late, "request-timeout")
        assert "retry-after" not in late.headers
        # What is left of it is no request.
        assert late.headers["connection"] == "close"
        assert await conversation.is_closed()
        metrics = (await service.http.get("/metrics")).text
        assert 'freehold_http_requests_refused_total{limit="request_timeout_s"}' in metrics


async def test_a_client_that_hangs_up_before_the_end_holds_nothing(path: str) -> None:
    async with station(path, requests_in_flight_max=1) as service:
        conversation = await service.connect()
        conversation.send(service.asking(b"abc")[:-1])

        async def refused() -> bool:
            return (await service.ask(service.asking())).status_code == 503

        await eventually(refused, "the request has begun")
        await conversation.close()

        async def let_in() -> bool:
            return (await service.ask(service.asking())).status_code == 200

        await eventually(let_in, "the request is let go")


@pytest.mark.parametrize(
    ("line", "slug"), [("stranger: yes", "unauthorized"), ("greedy: yes", "too-many-requests")]
)
async def test_a_refused_request_holds_nothing_and_its_body_is_not_waited_for(
    path: str, line: str, slug: str
) -> None:
    async with station(path, requests_in_flight_max=1, all_bodies_bytes_max=10) as service:
        conversation = await service.connect()
        for _ in range(3):
            conversation.send(service.asking(b"x" * 10, line)[:-1])
            refused = await conversation.answer()
            problem(refused, slug)
            assert refused.headers.get("retry-after") == ("7" if "greedy" in line else None)
            # The end of the body is no request.
            conversation.send(b"x")
        conversation.send(service.asking(b"y" * 10))
        assert (await conversation.answer()).text == f'"{"y" * 10}"'


@pytest.mark.parametrize(
    ("fault", "slug"), [(Unavailable("no"), "unavailable"), (RuntimeError("trouble"), "internal")]
)
async def test_failures_are_answered_as_problems(
    path: str, fault: Exception, slug: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with station(path, requests_in_flight_max=1) as service:
        service.fault = fault
        failed = await service.ask(service.asking(b"a", "x-request-id: this-one"))
        problem(failed, slug)
        assert ("retry-after" in failed.headers) == (slug == "unavailable")
        assert ("request failed" in capsys.readouterr().out) == (slug == "internal")
        problem(await service.http.get(path), "method-not-allowed")
        service.fault = None
        assert (await service.ask(service.asking(b"a"))).text == '"a"'


async def test_a_server_answers_accepted_requests_before_it_ends(path: str) -> None:
    async with station(path) as service:
        service.answering.clear()
        conversation, idle = await service.connect(), await service.connect()
        half = await service.connect()
        half.send(service.asking(b"no")[:-1])
        conversation.send(service.asking(b"a"))
        await service.took(1)
        service.server.should_exit = True
        assert await idle.is_closed()
        half.send(b"o")
        await service.took(2)
        assert not service.stopped.done()
        service.answering.set()
        for asked, text in ((half, '"no"'), (conversation, '"a"')):
            answered = await asked.answer()
            assert (answered.text, answered.headers["connection"]) == (text, "close")
            assert await asked.is_closed()
        await asyncio.wait_for(service.stopped, 10)
