"""What is said on one connection, byte for byte."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import httpx


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
        async with asyncio.timeout(10):
            return int((await self.reader.readuntil(b"\r\n"))[9:12])

    async def hear(self, data: bytes) -> None:
        """Wait until this comes, which may be the end of what comes."""
        heard = b""
        async with asyncio.timeout(10):
            while not heard.endswith(data):
                heard += await self.reader.read(65_536)

    async def go_on(self, data: bytes, *, times: int) -> None:
        """Send the same again and again, as fast as it is read."""
        for _ in range(times):
            self.writer.write(data)
            await self.writer.drain()

    async def is_closed(self) -> bool:
        async with asyncio.timeout(10):
            try:
                return await self.reader.read() == b""
            except ConnectionError:
                return True

    async def answer(self) -> httpx.Response:
        """Wait for an answer, which tells how long it is."""
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            status, *lines = head.decode("latin-1").strip().split("\r\n")
            headers = httpx.Headers(
                {line.partition(": ")[0]: line.partition(": ")[2] for line in lines}
            )
            body = await self.reader.readexactly(int(headers["content-length"]))
        return httpx.Response(int(status.split()[1]), headers=headers, content=body)

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()
