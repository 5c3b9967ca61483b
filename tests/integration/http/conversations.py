"""What is said on one connection, byte for byte."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import httpx

from support.waiting import PATIENCE_S


@dataclass
class Conversation:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def send_piece(self, data: bytes) -> None:
        """Send a piece of a body without a size."""
        self.writer.write(b"%x\r\n%b\r\n" % (len(data), data))

    async def status(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            return int((await self.reader.readuntil(b"\r\n"))[9:12])

    async def hear(self, data: bytes) -> None:
        """Wait until this comes, which may be the end of what comes."""
        heard = b""
        async with asyncio.timeout(PATIENCE_S):
            while not heard.endswith(data):
                heard += await self.reader.read(65_536)

    async def go_on(self, data: bytes, *, times: int) -> None:
        """Send the same again and again, as fast as it is read."""
        for _ in range(times):
            self.writer.write(data)
            await self.writer.drain()

    async def is_closed(self) -> bool:
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True

    async def answer(self, method: str = "GET") -> httpx.Response:
        """Wait for an answer to a method, which states the length of its body where it has one."""
        async with asyncio.timeout(PATIENCE_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status, *lines = head.decode("latin-1").strip().split("\r\n")
            headers = httpx.Headers(
                {line.partition(": ")[0]: line.partition(": ")[2] for line in lines}
            )
            code = int(status.split()[1])
            has_body = method != "HEAD" and code != 304
            length = int(headers["content-length"]) if has_body else 0
            body = await self.reader.readexactly(length)
        return httpx.Response(code, headers=headers, content=body)

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()
