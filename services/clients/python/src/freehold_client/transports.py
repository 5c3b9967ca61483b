"""The two ways to wait: blocking the thread, and letting other tasks run.

All else is written once, as coroutines over a Transport. Those of BlockingTransport never suspend,
so the blocking client runs a coroutine to its end in a single step.
"""

import ipaddress
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import httpx

T = TypeVar("T")

# Shorter than servers keep an idle connection, so that no request goes out on one being closed.
_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=2)


class Transport(Protocol):
    """Sends requests to one service, and waits."""

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and read its whole answer.

        Raises:
            httpx.TransportError: There was no whole answer in time.
        """

    def open(self, request: httpx.Request) -> AbstractAsyncContextManager[httpx.Response]:
        """Send a request and give the answer, whose body is not read yet.

        Raises:
            httpx.TransportError: There was no answer in time.
        """

    def pieces(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        """Read an answer's body piece by piece.

        Raises:
            httpx.TransportError: It broke off, or the next piece did not come in time.
        """

    async def read(self, answer: httpx.Response) -> None:
        """Read an answer's whole body into it.

        Raises:
            httpx.TransportError: As above.
        """

    async def pause(self, seconds: float) -> None:
        """Wait."""

    async def aside(self, work: Callable[[], T]) -> T:
        """Do what blocks, such as writing to a disk."""

    async def close(self) -> None:
        """Close all connections."""


class BlockingTransport:
    """Blocks the thread.

    Args:
        client: Sends the requests; closed with the transport.
        sleep: Waits for some seconds.
    """

    def __init__(self, client: httpx.Client, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client = client
        self._sleep = sleep

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request; see Transport."""
        return self._client.send(request)

    @asynccontextmanager
    async def open(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        """Open an answer; see Transport."""
        answer = self._client.send(request, stream=True)
        try:
            yield answer
        finally:
            answer.close()

    async def pieces(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        """Read piece by piece; see Transport."""
        for piece in answer.iter_bytes():
            yield piece

    async def read(self, answer: httpx.Response) -> None:
        """Read all; see Transport."""
        answer.read()

    async def pause(self, seconds: float) -> None:
        """Wait."""
        self._sleep(seconds)

    async def aside(self, work: Callable[[], T]) -> T:
        """Do what blocks."""
        return work()

    async def close(self) -> None:
        """Close all connections."""
        self._client.close()


class AsyncTransport:
    """Lets other tasks run, on asyncio or Trio.

    Args:
        client: Sends the requests; closed with the transport.
        sleep: Waits for some seconds.
    """

    def __init__(
        self, client: httpx.AsyncClient, sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    ) -> None:
        self._client = client
        self._sleep = sleep

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request; see Transport."""
        return await self._client.send(request)

    @asynccontextmanager
    async def open(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        """Open an answer; see Transport."""
        answer = await self._client.send(request, stream=True)
        try:
            yield answer
        finally:
            await answer.aclose()

    def pieces(self, answer: httpx.Response) -> AsyncIterator[bytes]:
        """Read piece by piece; see Transport."""
        return answer.aiter_bytes()

    async def read(self, answer: httpx.Response) -> None:
        """Read all; see Transport."""
        await answer.aread()

    async def pause(self, seconds: float) -> None:
        """Wait."""
        await self._sleep(seconds)

    async def aside(self, work: Callable[[], T]) -> T:
        """Do what blocks."""
        return await anyio.to_thread.run_sync(work)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


def blocking_transport(url: str) -> Transport:
    """Make the transport to an address that blocks the thread."""
    return BlockingTransport(
        httpx.Client(limits=_LIMITS, trust_env=not _is_this_machine(url), verify=_is_tls(url))
    )


def async_transport(url: str) -> Transport:
    """Make the transport to an address that lets other tasks run."""
    return AsyncTransport(
        httpx.AsyncClient(limits=_LIMITS, trust_env=not _is_this_machine(url), verify=_is_tls(url))
    )


def _is_tls(url: str) -> bool:
    # Certificates take 20 ms to load, and redirects, which could lead to TLS, are not followed.
    return url.startswith("https:")


def _is_this_machine(url: str) -> bool:
    # No proxy leads there.
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
