"""Limits on what a service admits: bytes, requests, and connections that send nothing."""

import asyncio

import httpx
import pytest

from freehold.http import connections
from integration.http.serving import PARTS, STREAM, serving
from support.answers import problem


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


@pytest.mark.parametrize("with_length", [True, False])
async def test_more_bytes_than_can_be_held_are_refused(*, with_length: bool) -> None:
    async with serving(body_bytes_max=60, all_bodies_bytes_max=100) as service:
        begun = await service.begin(60 if with_length else None)
        if not with_length:
            begun.send_piece(b"x" * 60)
        answer = await service.until_refused(b"x" * 50)
        problem(answer, "overloaded")
        assert answer.headers["retry-after"] == "1"
        # One that comes in pieces is refused as soon as a piece is too much.
        in_pieces = await service.begin(None)
        in_pieces.send_piece(b"x" * 50)
        assert await in_pieces.status() == 503
        assert (await service.length(b"x" * 40)).text == "40"
        begun.send(b"x" * 60 if with_length else b"0\r\n\r\n")
        assert await begun.status() == 200
        # All that was held has been let go of.
        assert (await service.length(b"x" * 50)).text == "50"


@pytest.mark.parametrize("with_length", [True, False])
async def test_a_body_that_is_too_large_by_itself_will_never_fit(*, with_length: bool) -> None:
    async with serving(body_bytes_max=60) as service:
        begun = await service.begin(61 if with_length else None)
        if not with_length:
            begun.send_piece(b"x" * 61)
        assert await begun.status() == 413


async def test_a_body_that_does_not_come_in_time_is_not_waited_for() -> None:
    async with serving(timeout_s=1, streaming_paths=frozenset({STREAM})) as service:
        begun, longer = await service.begin(2), await service.begin(2, STREAM)
        for conversation in (begun, longer):
            conversation.send(b"x")
        late = await begun.answer()
        problem(late, "request-timeout")
        assert "retry-after" not in late.headers
        # What is left of it is no request.
        assert late.headers["connection"] == "close"
        assert await begun.is_closed()
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
async def test_an_upgrade_header_does_not_change_a_request(
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


async def test_an_upgrade_with_connection_close_is_answered_and_closed() -> None:
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
        problem(await tunnel.answer(), "not-implemented")
        assert await tunnel.is_closed()


@pytest.mark.parametrize(
    "sent", [b"", b"GET /healthz", b"GET /healthz HTTP/1.1\r\nhost: ", b"\r\n"]
)
async def test_an_idle_connection_is_closed(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_TIMEOUT_S", 0.5)
    async with serving() as service:
        silent = await service.connect()
        silent.send(sent)
        assert await silent.is_closed()
        # Who is being worked for is not taken for silent.
        begun = await service.begin(2)
        await asyncio.sleep(1)
        begun.send(b"xx")
        assert await begun.status() == 200
