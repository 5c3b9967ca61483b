"""What HTTP asks of every service: methods, heads, types, codings, and words for what breaks it."""

import asyncio
import gzip
import socket
import tracemalloc
import zlib
from typing import Any

import pytest
import zstandard

from freehold.http import connections
from freehold.http.headers import STANDARD
from integration.http.serving import JSON, PARTS, STREAM, serving
from support.answers import problem

HOST = "host: test"
CHUNKED = "transfer-encoding: chunked"


def head(*lines: str, first: str = "POST /length HTTP/1.1") -> bytes:
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1")


BROKEN = {
    "no host": (head(first="GET /healthz HTTP/1.1"), "malformed-request"),
    "two hosts": (head(HOST, HOST), "malformed-request"),
    "no such host": (head("host: a/b"), "malformed-request"),
    "two in one host": (head("host: a, b"), "malformed-request"),
    "two in one host, joined": (head("host: a,b"), "malformed-request"),
    "no such port": (head("host: a:b"), "malformed-request"),
    "an open bracket": (head("host: [::1"), "malformed-request"),
    "a fragment": (head(HOST, first="GET /healthz?a#b HTTP/1.1"), "malformed-request"),
    "an encoded slash": (head(HOST, first="POST /json%2Flength HTTP/1.1"), "not-found"),
    "no path": (head(HOST, first="GET http://test HTTP/1.1"), "malformed-request"),
    "two lengths": (head(HOST, "content-length: 1", "content-length: 1"), "malformed-request"),
    "length and pieces": (head(HOST, "content-length: 3", CHUNKED), "malformed-request"),
    "pieces and length": (head(HOST, CHUNKED, "content-length: 3"), "malformed-request"),
    "no length": (head(HOST, "content-length: +1"), "malformed-request"),
    "pieces in 1.0": (head(CHUNKED, first="POST /length HTTP/1.0"), "malformed-request"),
    "a space": (head(HOST, "transfer-encoding : chunked"), "malformed-request"),
    "folded": (head(HOST, "x-more: a", " b"), "malformed-request"),
    "no piece": (head(HOST, CHUNKED) + b"zz\r\n", "malformed-request"),
    "packed pieces": (head(HOST, "transfer-encoding: gzip, chunked"), "not-implemented"),
    "packed": (head(HOST, "transfer-encoding: gzip"), "not-implemented"),
    "nearly pieces": (head(HOST, "transfer-encoding: xchunked"), "not-implemented"),
    "unknown method": (head(HOST, first="BREW /length HTTP/1.1"), "not-implemented"),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "not-implemented"),
    "HTTP/2": (head(HOST, first="GET /healthz HTTP/2.0"), "http-version-unsupported"),
    "HTTP/2 itself": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http-version-unsupported"),
    "HTTP/1.7": (head(HOST, first="GET /healthz HTTP/1.7"), "http-version-unsupported"),
    "HTTP/0.9": (b"GET /healthz\r\n\r\n", "http-version-unsupported"),
    "long target": (head(HOST, first=f"GET /{'x' * 20_000} HTTP/1.1"), "uri-too-long"),
    "long field": (head(HOST, f"a: {'b' * 70_000}"), "head-too-large"),
    "many fields": (head(HOST, *["a: b"] * 300), "head-too-large"),
}


@pytest.mark.parametrize(("sent", "slug"), BROKEN.values(), ids=BROKEN)
async def test_an_invalid_request_is_answered_with_the_reason_and_ends_the_connection(
    sent: bytes, slug: str
) -> None:
    async with serving() as service:
        asking = await service.connect()
        asking.send(sent)
        answer = await asking.answer()
        problem(answer, slug)
        assert answer.status_code == answer.json()["status"]
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["connection"] == "close"
        assert answer.headers["x-request-id"]
        assert {name.decode() for name, _ in STANDARD} <= set(answer.headers)
        assert await asking.is_closed()


@pytest.mark.parametrize(
    "sent",
    [
        head(first="GET /healthz HTTP/1.0"),
        head("host:", first="GET /healthz HTTP/1.1"),
        head("host: [::1]:80", first="GET /healthz HTTP/1.1"),
        head(HOST, first="GET http://test/healthz HTTP/1.1"),
        head(HOST, first="GET /healthz?zone=Europe%2FBerlin HTTP/1.1"),
    ],
)
async def test_every_valid_head_is_accepted(sent: bytes) -> None:
    async with serving() as service:
        asking = await service.connect()
        asking.send(sent)
        assert (await asking.answer()).status_code == 200


async def test_requests_before_an_invalid_one_are_answered() -> None:
    async with serving() as service:
        asking = await service.connect()
        first = head(HOST, "content-length: 2")
        asking.send(first + b"a")
        # The second is there before the first is whole, and the third breaks the rules.
        await asyncio.sleep(0.05)
        asking.send(b"b" + head(HOST, "content-length: 1") + b"c" + head(HOST, HOST))
        assert (await asking.answer()).text == "2"
        assert (await asking.answer()).text == "1"
        problem(await asking.answer(), "malformed-request")
        assert await asking.is_closed()


async def test_a_body_with_invalid_chunks_is_not_processed() -> None:
    async with serving(requests_in_flight_max=1) as service:
        asking = await service.begin(None)
        asking.send_piece(b"abc")
        await asyncio.sleep(0.05)
        asking.send(b"zz\r\n")
        problem(await asking.answer(), "malformed-request")
        assert (await service.length(b"x")).text == "1"


async def test_a_request_that_has_its_answer_gets_no_other() -> None:
    async with serving(body_bytes_max=10) as service:
        asking = await service.begin(None)
        asking.send_piece(b"x" * 11)
        problem(await asking.answer(), "body-too-large")
        asking.send(b"zz\r\n")
        assert await asking.is_closed()


PATHS = ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", JSON)


async def test_what_can_be_asked_for_can_be_asked_for_its_head() -> None:
    async with serving() as service:
        for path in (*PATHS, "/nowhere"):
            whole = await service.http.get(path)
            asking = await service.connect()
            asking.send(head(HOST, first=f"HEAD {path} HTTP/1.1") * 2)
            for _ in range(2):
                # Nothing but the next head follows.
                lines = (await asking.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                fields = dict(line.split(": ", 1) for line in lines[1:] if line)
                assert int(lines[0].split()[1]) == whole.status_code
                kept = {"date", "x-request-id", "content-length"}
                assert {n: v for n, v in fields.items() if n not in kept} == {
                    n: v for n, v in whole.headers.items() if n not in kept
                }
                if path not in {"/metrics", "/nowhere"}:
                    assert fields["content-length"] == whole.headers["content-length"]
        # What has no end is not begun.
        assert (await service.http.head(PARTS)).status_code == 200
        metrics = (await service.http.get("/metrics")).text
        assert 'freehold_http_request_seconds_count{method="HEAD",route="/json"' in metrics


async def test_all_methods_of_a_resource_are_named() -> None:
    async with serving() as service:
        refused = await service.http.delete(JSON)
        problem(refused, "method-not-allowed")
        assert refused.headers["allow"] == "GET, HEAD, POST, OPTIONS"
        options = await service.http.options(JSON)
        assert (options.status_code, options.content) == (204, b"")
        assert options.headers["allow"] == "GET, HEAD, POST, OPTIONS"
        no_head = await service.http.head("/length")
        assert (no_head.status_code, no_head.headers["allow"]) == (405, "POST, OPTIONS")
        problem(await service.http.options("/nowhere"), "not-found")
        assert "access-control-allow-origin" not in options.headers


async def test_every_answer_has_the_standard_headers_and_its_own_first() -> None:
    async with serving(body_bytes_max=10) as service:
        answers = [
            await service.http.get("/healthz"),
            await service.http.get("/nowhere"),
            await service.http.delete(JSON),
            await service.http.options(JSON),
            await service.http.head(JSON),
            await service.http.get("/broken"),
            await service.http.get(JSON),
            await service.length(b"x" * 11),
        ]
        statuses = [answer.status_code for answer in answers]
        assert statuses == [*(200, 404, 405, 204), *(200, 500, 200, 413)]
        for answer in answers:
            for name, value in STANDARD:
                own = name == b"cache-control" and str(answer.url).endswith(JSON)
                if not (own and answer.status_code == 200):
                    assert answer.headers.get_list(name.decode()) == [value.decode()]
            assert "date" in answer.headers
            assert "server" not in answer.headers
        assert answers[6].headers.get_list("cache-control") == ["private"]


async def test_the_documentation_is_a_page_without_scripts_or_anything_from_elsewhere() -> None:
    async with serving() as service:
        answer = await service.http.get("/docs")
        assert answer.headers["content-type"].startswith("text/html")
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; style-src 'sha256-")
        assert "unsafe" not in policy
        for word in ("<script", "src=", "http://", "https://", "//", "javascript:", "<form"):
            assert word not in answer.text
        assert "POST /length" in answer.text
        for gone in ("/redoc", "/docs/oauth2-redirect", "/docs/", "/healthz/"):
            problem(await service.http.get(gone), "not-found")


async def test_forwarded_fields_are_not_trusted() -> None:
    async with serving() as service:
        headers = {
            "X-Forwarded-For": "203.0.113.7",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "example.com",
            "X-Forwarded-Prefix": "/x",
        }
        answer = await service.http.get("/openapi.json", headers=headers)
        assert answer.json() == (await service.http.get("/openapi.json")).json()
        assert "example.com" not in answer.text


JSON_TYPES = [
    "application/json",
    "Application/JSON; charset=UTF-8",
    'application/json;charset="utf-8"',
]


@pytest.mark.parametrize("media_type", [None, *JSON_TYPES])
async def test_json_is_taken_whichever_way_it_is_named(media_type: str | None) -> None:
    async with serving() as service:
        headers = {} if media_type is None else {"Content-Type": media_type}
        answer = await service.http.post(JSON, content=b"{}", headers=headers)
        assert (answer.status_code, answer.text) == (200, "2")


@pytest.mark.parametrize(
    "media_type",
    [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/xml",
        "application/json; charset=utf-16",
        "application/jsonx",
        "application/json, text/plain",
        "",
    ],
)
async def test_what_is_no_json_is_refused_by_its_type(media_type: str) -> None:
    async with serving() as service:
        headers = {"Content-Type": media_type}
        answer = await service.http.post(JSON, content=b"{}", headers=headers)
        problem(answer, "unsupported-media-type")
        assert answer.headers["accept"] == "application/json"
        asking = await service.connect()
        asking.send(
            head(HOST, CHUNKED, f"content-type: {media_type}", first=f"POST {JSON} HTTP/1.1")
        )
        problem(await asking.answer(), "unsupported-media-type")
        # Nothing is of no type.
        assert (await service.http.post(JSON, headers=headers)).text == "0"


async def test_two_content_types_are_refused() -> None:
    async with serving() as service:
        twice = [("Content-Type", "application/json")] * 2
        answer = await service.http.post(JSON, content=b"{}", headers=twice)
        problem(answer, "unsupported-media-type")


def zstd(data: bytes, **settings: Any) -> bytes:
    return zstandard.ZstdCompressor(**settings).compress(data)


TEXT = b'{"a": "' + b"text " * 20_000 + b'"}'
PACKED = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "x-gzip": ("X-GZIP", gzip.compress(TEXT)),
    "gzip in parts": ("gzip", gzip.compress(TEXT[:7]) + gzip.compress(TEXT[7:])),
    "zstd": ("zstd", zstd(TEXT)),
    "zstd in frames": ("zstd", zstd(TEXT[:7]) + zstd(TEXT[7:])),
    "as it is": ("identity", TEXT),
}


@pytest.mark.parametrize(("coding", "body"), PACKED.values(), ids=PACKED)
async def test_a_body_may_be_packed(coding: str, body: bytes) -> None:
    async with serving(body_bytes_max=len(TEXT), streaming_paths=frozenset({STREAM})) as service:
        headers = {"Content-Encoding": coding}

        async def pieces() -> Any:
            for begin in range(0, len(body), 100):
                yield body[begin : begin + 100]

        for path in (JSON, STREAM, "/length"):
            for content in (body, pieces()):
                answer = await service.http.post(path, content=content, headers=headers)
                assert (answer.status_code, answer.text) == (200, str(len(TEXT)))


NOT_PACKED = {
    "cut gzip": ("gzip", gzip.compress(TEXT)[:-1]),
    "cut zstd": ("zstd", zstd(TEXT)[:-3]),
    "no gzip": ("gzip", TEXT),
    "no zstd": ("zstd", TEXT),
    "zlib": ("gzip", zlib.compress(TEXT)),
    "followed": ("gzip", gzip.compress(TEXT) + b"x"),
    "changed": ("gzip", gzip.compress(TEXT)[:-8] + b"\0" * 8),
    "wide window": (
        "zstd",
        zstd(
            b"x" * 2**25,
            compression_params=zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True),
        ),
    ),
}


@pytest.mark.parametrize(("coding", "body"), NOT_PACKED.values(), ids=NOT_PACKED)
async def test_what_is_not_packed_as_it_says_is_refused(coding: str, body: bytes) -> None:
    async with serving(body_bytes_max=2**26) as service:
        for path in (JSON, "/length"):
            answer = await service.http.post(
                path, content=body, headers={"Content-Encoding": coding}
            )
            problem(answer, "malformed-coding")


@pytest.mark.parametrize(
    "coding", ["br", "deflate", "compress", "gzip, gzip", "gzip, identity", "*"]
)
async def test_other_codings_and_several_are_refused(coding: str) -> None:
    async with serving() as service:
        answer = await service.http.post(JSON, content=b"{}", headers={"Content-Encoding": coding})
        problem(answer, "unsupported-media-type")
        assert answer.headers["accept-encoding"] == "gzip, zstd"
        twice = [("Content-Encoding", "gzip")] * 2
        answer = await service.http.post(JSON, content=gzip.compress(b"{}"), headers=twice)
        problem(answer, "unsupported-media-type")
        # Who sends no body has not packed it either.
        assert (await service.http.get(JSON, headers={"Content-Encoding": coding})).text == '"here"'


@pytest.mark.parametrize("bomb", ["gzip", "zstd"])
async def test_a_decompression_bomb_is_refused(bomb: str) -> None:
    zeros = b"\0" * 2**28
    body = gzip.compress(zeros, 1) if bomb == "gzip" else zstd(zeros)
    del zeros
    async with serving(body_bytes_max=2**22) as service:
        headers = {"Content-Encoding": bomb}
        await service.http.post(JSON, content=b"x", headers=headers)
        tracemalloc.start()
        try:
            answer = await service.http.post(JSON, content=body[: 2**21], headers=headers)
            assert tracemalloc.get_traced_memory()[1] < 2**25
        finally:
            tracemalloc.stop()
        problem(answer, "body-too-large")
        # Nothing of it is left counted.
        packed = gzip.compress(b"x" * 2**22)
        answer = await service.http.post(JSON, content=packed, headers={"Content-Encoding": "gzip"})
        assert answer.text == str(2**22)


@pytest.mark.parametrize("bomb", ["gzip", "zstd"])
async def test_a_stream_is_not_unpacked_without_end(bomb: str) -> None:
    zeros = b"\0" * 2**27
    body = gzip.compress(zeros, 9) if bomb == "gzip" else zstd(zeros)
    del zeros
    async with serving(streaming_paths=frozenset({STREAM})) as service:
        headers = {"Content-Encoding": bomb}
        problem(await service.http.post(STREAM, content=body, headers=headers), "body-too-large")


async def test_decompressed_bytes_count_towards_the_limit_of_all_bodies() -> None:
    async with serving(body_bytes_max=60, all_bodies_bytes_max=100) as service:
        begun = await service.begin(60)
        answer = await service.until_refused(b"x" * 50)
        packed = gzip.compress(b"x" * 50)
        answer = await service.http.post(
            "/length", content=packed, headers={"Content-Encoding": "gzip"}
        )
        problem(answer, "overloaded")
        begun.send(b"x" * 60)
        assert await begun.status() == 200


async def test_a_client_that_does_not_read_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "UNREAD_TIMEOUT_S", 0.2)
    async with serving(requests_in_flight_max=1) as service:
        with socket.create_connection(("127.0.0.1", service.port)) as idle:
            idle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            idle.sendall(head(HOST, first=f"GET {PARTS} HTTP/1.1"))
            # It has the only place until it is cut off.
            await service.until_refused(b"x")
            for _ in range(100):
                await asyncio.sleep(0.1)
                if (await service.length(b"x")).status_code == 200:
                    break
            assert (await service.length(b"x")).text == "1"
