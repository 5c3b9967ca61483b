"""A server with scripted answers, for what no sound server does on demand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson

Answer = bytes
"""Bytes as they go over the wire; the connection is closed after them."""


@dataclass(slots=True)
class Scripted:
    """Answers each request with the next of its lines, and with the last one for ever."""

    answers: list[Answer]
    asked: list[str] = field(default_factory=list)
    """Method and path of each request."""
    url: str = ""

    @property
    def operator(self) -> dict[str, str]:
        """The environment of an operator whose command asks this server."""
        return {"FREEHOLD_TENANT_MANAGER_URL": self.url, "FREEHOLD_OPERATOR_TOKEN": "a-token"}

    def next(self) -> Answer:
        """What the next request is answered."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@asynccontextmanager
async def scripted(*answers: Answer) -> AsyncIterator[Scripted]:
    """Have such a server for a while."""
    script = Scripted(list(answers))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        script.asked.append(" ".join(head.decode("latin-1").split()[:2]))
        writer.write(script.next())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield script


def document(status: int, body: object, **headers: str) -> Answer:
    """An answer with a JSON document."""
    return _answer(status, orjson.dumps(body), {"Content-Type": "application/json", **headers})


def nothing() -> Answer:
    """No answer at all: the connection ends."""
    return b""


def chunks(*parts: bytes, ended: bool) -> Answer:
    """A streamed answer, with its end or broken off."""
    lines = [b"%x\r\n%s\r\n" % (len(part), part) for part in parts]
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    return head + b"".join(lines) + (b"0\r\n\r\n" if ended else b"")


def _answer(status: int, body: bytes, headers: dict[str, str]) -> Answer:
    lines = [f"HTTP/1.1 {status} -", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
