"""A load that comes at its own pace, whether answers come or not, as that of many clients does.

A latency counts from when its request was due: waiting for a free connection is waiting too.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import urlsplit


@dataclass
class Paced:
    """What a paced load was answered; what found no free connection was not even sent."""

    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


class _Connection(asyncio.Protocol):
    """One request after the other."""

    def __init__(self, free: "deque[_Connection]", paced: Paced) -> None:
        self._free = free
        self._paced = paced
        self._received = b""
        self._due = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._free.append(self)

    def ask(self, request: bytes, due: float) -> None:
        self._due = due
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < int(head.split(b"content-length: ")[1].split(b"\r\n")[0]):
            return
        self._received = b""
        self._paced.statuses[int(head[9:12])] += 1
        self._paced.latencies_s.append(time.perf_counter() - self._due)
        self._free.append(self)

    def close(self) -> None:
        self._transport.close()


async def run_paced(
    url: str, requests: Iterator[bytes], *, per_s: float, seconds: float, connections: int
) -> Paced:
    """Send requests at a pace for a while, and wait for the last answers.

    A slow server is not sent more for it: the end of the period stays.
    """
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 0
    loop = asyncio.get_running_loop()
    paced = Paced()
    free: deque[_Connection] = deque()
    made = [
        (await loop.create_connection(lambda: _Connection(free, paced), host, port))[1]
        for _ in range(connections)
    ]
    started = time.perf_counter()
    for number in range(round(per_s * seconds)):
        due = started + number / per_s
        while (wait_s := due - time.perf_counter()) > 0 or not free:  # noqa: ASYNC110 (as others do)
            # Less would be no time at all to uvloop.
            await asyncio.sleep(max(wait_s, 0.001))
        if time.perf_counter() > started + seconds:
            break
        free.popleft().ask(next(requests), due)
    async with asyncio.timeout(30):
        while len(free) < connections:  # noqa: ASYNC110 (as others do)
            await asyncio.sleep(0.001)
    for connection in made:
        connection.close()
    return paced
