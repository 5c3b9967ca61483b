"""A load of HTTP requests from a few connections, with as little work a request as can be.

Ordinary clients cost more CPU a request than the services do, and on two cores that is what would
be measured.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Result:
    """What a load got."""

    requests: int
    seconds: float
    latencies_s: list[float]

    @property
    def per_s(self) -> float:
        """Requests answered a second."""
        return self.requests / self.seconds

    def latency_ms(self, share: float) -> float:
        """The latency that this share of the requests stayed below."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


def request_bytes(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """Write an HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", "host: bench", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def run(url: str, requests: Iterator[bytes], *, connections: int, status: int) -> Result:
    """Send requests, each connection one after the other, and check every answer's status.

    Raises:
        RuntimeError: An answer had another status.
    """
    place = urlsplit(url)
    latencies: list[float] = []
    started = time.perf_counter()

    async def work() -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        try:
            for request in requests:
                begun = time.perf_counter()
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                latencies.append(time.perf_counter() - begun)
                if int(head[9:12]) != status:
                    raise RuntimeError(f"{head.decode()}{body.decode()}")
        finally:
            writer.close()
            await writer.wait_closed()

    await asyncio.gather(*(work() for _ in range(connections)))
    return Result(len(latencies), time.perf_counter() - started, latencies)
