"""An import over a bare connection: the test says what is sent when, and what is read meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx

from support.clients import Tenant, event_body
from support.documents import Document

PATH = "/events/import"
NDJSON = {"Content-Type": "application/x-ndjson"}
_TIMEOUT_S = 60


class Upload:
    """One import as it goes on."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, part: bytes) -> None:
        """Send a part of the body."""
        self._writer.write(b"%x\r\n%s\r\n" % (len(part), part))
        async with asyncio.timeout(_TIMEOUT_S):
            await self._writer.drain()

    async def end(self) -> None:
        """Say that the body ends here."""
        self._writer.write(b"0\r\n\r\n")
        async with asyncio.timeout(_TIMEOUT_S):
            await self._writer.drain()

    async def head(self) -> str:
        """Read the answer's head."""
        async with asyncio.timeout(_TIMEOUT_S):
            return (await self._reader.readuntil(b"\r\n\r\n")).decode()

    async def problem(self) -> Document:
        """Read an answer that is a problem, from its head on."""
        head = await self.head()
        length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
        async with asyncio.timeout(_TIMEOUT_S):
            document: Document = json.loads(await self._reader.readexactly(length))
        return document

    async def line(self) -> Document:
        """Read the next line of the answer; what is no more of it is an IncompleteReadError."""
        async with asyncio.timeout(_TIMEOUT_S):
            size = int(await self._reader.readuntil(b"\r\n"), 16)
            line: Document = json.loads(await self._reader.readexactly(size))
            await self._reader.readexactly(2)
        return line

    async def accepted(self, count: int) -> None:
        """Read lines until this number of events is accepted."""
        while (await self.line())["accepted"] < count:
            pass

    async def last_line(self) -> Document:
        """Read the answer to its end."""
        while "done" not in (line := await self.line()):
            pass
        return line

    def cut(self) -> None:
        """Cut the connection: what is still to be sent is lost, and the server hears nothing."""
        self._writer.transport.abort()


@asynccontextmanager
async def uploading(tenant: Tenant, *headers: str) -> AsyncIterator[Upload]:
    """Begin an import; its connection is cut in the end, if it has not ended by then.

    Args:
        tenant: Whose ledger it is for.
        headers: Lines of its head besides.
    """
    address = urlsplit(tenant.freehold.addresses.ingest)
    more = "".join(f"{header}\r\n" for header in headers)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(
            f"POST /v1{PATH} HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Authorization: Bearer {tenant.api_key}\r\n"
            "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n"
            f"{more}\r\n".encode()
        )
        yield Upload(reader, writer)
    finally:
        writer.transport.abort()


def lines(first: int, last: int) -> bytes:
    """Lines of events, each of one minor unit, known as ch_<first> to ch_<last>."""
    return b"".join(
        line(external_id=f"ch_{number}", account_id=f"cus_{number % 10}", amount_minor=1)
        for number in range(first, last + 1)
    )


def line(**changes: object) -> bytes:
    """A line with an event that would be accepted, but for the changes."""
    return json.dumps(event_body(**changes)).encode() + b"\n"


async def imported(tenant: Tenant, body: bytes) -> Document:
    """Import a body with a client that sends all of it before it reads, and give the last line."""
    return result(await tenant.post(PATH, body, key=None, headers=NDJSON))


def result(answer: httpx.Response) -> Document:
    """The last line of an import's answer."""
    assert answer.status_code == 200, f"{answer.status_code}: {answer.text}"
    assert answer.headers["content-type"] == "application/x-ndjson"
    *progress, last = [json.loads(text) for text in answer.text.splitlines()]
    for line in progress:
        assert set(line) == {"line", "accepted", "duplicates", "conflicts", "rejected_count"}
    document: Document = last
    return document
