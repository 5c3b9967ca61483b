"""The outermost layer of every service: request ids, limits, deadlines, metrics, last resorts.

Pure ASGI, since it stands before every request; what it does to each costs a few microseconds.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Mapping
from itertools import count
from types import MappingProxyType
from typing import Any, Protocol, cast

import structlog
from prometheus_client import Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.contracts.problems import (
    BODY_TOO_LARGE,
    PROBLEM_MEDIA_TYPE,
    Problem,
    internal,
    overloaded,
)
from freehold.service.logs import begin_request
from freehold.service.metrics import REQUEST_SECONDS, REQUESTS_REFUSED

_log = structlog.get_logger(__name__)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}", re.ASCII)
_ID_HEADER = b"x-request-id"
_WATCHERS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Answered however much there is to do: who watches over a service must not lose sight of it."""
_TELL_EVERY_S = 1.0


class Work(Protocol):
    """A request being worked on: the task that serves it, or one that has none."""

    def cancel(self) -> object:
        """Have it end, for it is late."""
        ...


class _Exchange:
    """One request as it goes on: what it holds of the limits, and what it was answered."""

    __slots__ = ("_access", "_receive", "_request_id", "_send", "held_bytes", "status")

    def __init__(self, access: "Access", receive: Receive, send: Send, request_id: bytes) -> None:
        self._access = access
        self._receive = receive
        self._send = send
        self._request_id = request_id
        self.held_bytes = 0
        self.status = 0

    async def send(self, message: Message) -> None:
        """Send on, with the request's id among the headers."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], (_ID_HEADER, self._request_id)]
        await self._send(message)

    async def receive(self) -> Message:
        """Receive a part of a body whose length was not told beforehand.

        Raises:
            Problem: body-too-large; overloaded, where too much is held already.
        """
        message = await self._receive()
        self._access.hold(self, len(message.get("body", b"")))
        return message

    async def answer(self, problem: Problem) -> None:
        """Answer with a problem, unless another answer has begun."""
        if self.status:
            return
        body = problem.body()
        headers = [
            (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            *((name.lower().encode(), value.encode()) for name, value in problem.headers.items()),
        ]
        status = problem.kind.status
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


class Access:
    """Gives each request an id, limits and a deadline, and measures it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        body_bytes_max: int,
        timeout_s: float,
        requests_in_flight_max: int,
        all_bodies_bytes_max: int,
        streaming_paths: frozenset[str],
    ) -> None:
        """Set the limits; `new_application` says what each of them is."""
        self._app = app
        self._body_bytes_max = body_bytes_max
        self._timeout_s = timeout_s
        self._requests_in_flight_max = requests_in_flight_max
        self._all_bodies_bytes_max = all_bodies_bytes_max
        self._streaming_paths = streaming_paths
        # By when each request must have ended. All are given the same time, so the first to come
        # is the first to be late, and one timer does for all of them.
        self._deadlines: dict[Work, float] = {}
        self._late: set[Work] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._streams = 0
        self._held_bytes = 0
        self._id_prefix = secrets.token_hex(8)
        self._numbers = count(1)
        self._observers: dict[tuple[str, str, int], Histogram] = {}
        self._failures = 0
        self._tell_at = 0.0
        # Bound once: a lazy logger costs more each time than all that it mostly does, nothing.
        self._log = _log.bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        request_id = self.request_id(headers)
        begin_request(request_id.decode())
        exchange = _Exchange(self, receive, send, request_id)
        try:
            await self._serve(scope, headers, receive, exchange)
        except ClientDisconnect:
            # Nobody is left to answer; counted by the status that servers log for it.
            exchange.status = 499
        except Problem as problem:
            await exchange.answer(problem)
        except TimeoutError:
            await exchange.answer(self.late())
        except Exception:  # noqa: BLE001 (the last resort: every failure gets an answer)
            self._log.exception("request failed", path=scope["path"])
            await exchange.answer(internal())
        finally:
            self._held_bytes -= exchange.held_bytes
            route = getattr(scope.get("route"), "path", "unknown")
            series = (scope["method"], route, exchange.status)
            self.measure(series, scope["path"], time.perf_counter() - started)

    def request_id(self, headers: Mapping[bytes, bytes]) -> bytes:
        """Give the id that a client sent with a request, or a new one."""
        request_id = headers.get(_ID_HEADER)
        if request_id is None or not _REQUEST_ID.fullmatch(request_id):
            return f"{self._id_prefix}{next(self._numbers):08x}".encode()
        return request_id

    def late(self) -> Problem:
        """Make the problem of a request that took too long."""
        return overloaded(f"no answer within {self._timeout_s:g} s; try again")

    def enter(self, work: Work, body_bytes: int, loop: asyncio.AbstractEventLoop) -> bool:
        """Let a request in that has no task, until `leave`; False where it goes over a limit."""
        if (
            self._in_flight >= self._requests_in_flight_max
            or body_bytes > self._body_bytes_max
            or self._held_bytes + body_bytes > self._all_bodies_bytes_max
        ):
            return False
        self._held_bytes += body_bytes
        self._begin(work, loop)
        return True

    def leave(self, work: Work, body_bytes: int) -> None:
        """Let such a request go."""
        self._held_bytes -= body_bytes
        self._end(work)

    def hold(self, exchange: _Exchange, bytes_more: int) -> None:
        """Count bytes of a body, held until its request ends.

        Raises:
            Problem: body-too-large; overloaded, where too much is held already.
        """
        if exchange.held_bytes + bytes_more > self._body_bytes_max:
            raise Problem(BODY_TOO_LARGE, f"a body may have at most {self._body_bytes_max} bytes")
        if self._held_bytes + bytes_more > self._all_bodies_bytes_max:
            REQUESTS_REFUSED.labels("all_bodies_bytes_max").inc()
            raise overloaded("too many bytes of requests are being worked on")
        exchange.held_bytes += bytes_more
        self._held_bytes += bytes_more

    async def _serve(
        self,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        exchange: _Exchange,
    ) -> None:
        """Serve within the limits.

        Raises:
            Problem: The request goes over a limit, or was refused further inside.
            TimeoutError: It took too long.
        """
        path = scope["path"]
        if self._in_flight >= self._requests_in_flight_max and path not in _WATCHERS:
            REQUESTS_REFUSED.labels("requests_in_flight_max").inc()
            raise overloaded("too many requests are being worked on")
        if path in self._streaming_paths:
            self._streams += 1
            try:
                await self._app(scope, receive, exchange.send)
            finally:
                self._streams -= 1
            return
        length = headers.get(b"content-length", b"")
        if length.isdigit():
            # The server hands on no more than was told, so nothing need be counted as it comes.
            self.hold(exchange, int(length))
        else:
            receive = exchange.receive
        await self._serve_in_time(scope, receive, exchange)

    async def _serve_in_time(self, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._begin(task, task.get_loop())
        try:
            await self._app(scope, receive, exchange.send)
        except asyncio.CancelledError:
            # Where the server ends the task as well, that is what the cancelling is about.
            if task not in self._late or task.uncancel():
                raise
            raise TimeoutError from None
        finally:
            self._end(task)

    @property
    def _in_flight(self) -> int:
        return len(self._deadlines) + self._streams

    def _begin(self, work: Work, loop: asyncio.AbstractEventLoop) -> None:
        deadline = self._deadlines[work] = loop.time() + self._timeout_s
        if self._timer is None:
            self._timer = loop.call_at(deadline, self._cancel_late, loop)

    def _end(self, work: Work) -> None:
        del self._deadlines[work]
        self._late.discard(work)

    def _cancel_late(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancel what is late, and come again when the next request would be."""
        self._timer = None
        now = loop.time()
        # One that has no task ends as it is cancelled.
        for work, deadline in list(self._deadlines.items()):
            if deadline > now:
                self._timer = loop.call_at(deadline, self._cancel_late, loop)
                return
            if work not in self._late:
                self._late.add(work)
                work.cancel()

    def measure(
        self,
        series: tuple[str, str, int],
        path: str,
        seconds: float,
        whose: Mapping[str, str | None] = MappingProxyType({}),
    ) -> None:
        """Measure a request that has ended.

        Args:
            series: Its method, its route or "unknown", and the status of its answer.
            path: Its path.
            seconds: How long it took.
            whose: What the log is to say of it that the context does not.
        """
        method, route, status = series
        observer = self._observers.get(series)
        if observer is None:
            # Methods are the client's to choose; unknown ones must not make endless series.
            named = method if route != "unknown" else "any"
            observer = REQUEST_SECONDS.labels(named, route, str(status))
            if route != "unknown":
                self._observers[series] = observer
        observer.observe(seconds)
        if status >= 500:
            self._tell(path, status, seconds, whose)
        else:
            self._log.debug("request", path=path, status=status, seconds=seconds, **whose)

    def _tell(
        self, path: str, status: int, seconds: float, whose: Mapping[str, str | None]
    ) -> None:
        """Log a failed request, of many in a second the first: a log must not become the load."""
        self._failures += 1
        now = time.monotonic()
        if now < self._tell_at:
            return
        self._log.warning(
            "request",
            path=path,
            status=status,
            seconds=round(seconds, 4),
            failures=self._failures,
            **whose,
        )
        self._failures = 0
        self._tell_at = now + _TELL_EVERY_S
