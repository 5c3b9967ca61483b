"""A load of HTTP requests from a few connections, with as little work a request as can be.

Ordinary clients cost more CPU a request than the services do, and on two cores that is what would
be measured.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import uvloop

_LENGTH = b"\r\ncontent-length: "
_HEAD_END = b"\r\n\r\n"


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
    return "\r\n".join(lines).encode() + _HEAD_END + body


async def run(url: str, requests: Iterable[bytes], *, connections: int, status: int) -> Result:
    """Send requests, each connection one after the other, and check every answer's status.

    Raises:
        RuntimeError: An answer had another status.
    """
    return await asyncio.to_thread(
        uvloop.run, _run(url, iter(requests), connections=connections, status=status)
    )


class _Connection(asyncio.Protocol):
    """Sends a request, takes its answer, and sends the next."""

    def __init__(self, requests: Iterator[bytes], status: bytes, latencies: list[float]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._status = status
        self._latencies = latencies
        self._received = b""
        self._begun = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._send()

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        head = received.find(_HEAD_END)
        at = received.find(_LENGTH, 0, head)
        start = at + len(_LENGTH)
        # A 304 has no body and no length.
        length = int(received[start : received.find(b"\r", start)]) if at > 0 else 0
        if head < 0 or len(received) < head + 4 + length:
            self._received = received
            return
        self._received = b""
        self._latencies.append(time.perf_counter() - self._begun)
        if received[9:12] != self._status:
            self._end(RuntimeError(received.decode()))
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or RuntimeError("the service closed the connection"))

    def _send(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._end(None)
            return
        self._begun = time.perf_counter()
        self._transport.write(request)

    def _end(self, fault: Exception | None) -> None:
        if not self.done.done():
            if fault is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(fault)
            self._transport.close()


async def _run(url: str, requests: Iterator[bytes], *, connections: int, status: int) -> Result:
    address = urlsplit(url)
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    opened = [
        await loop.create_connection(
            lambda: _Connection(requests, str(status).encode(), latencies),
            address.hostname or "",
            address.port or 80,
        )
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in opened))
    return Result(len(latencies), time.perf_counter() - started, latencies)
