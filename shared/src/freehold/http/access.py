"""The outermost layer of every service: request ids, limits, deadlines, metrics, last resorts.

It is plain ASGI: it stands before every request, and costs each a few microseconds.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Mapping
from itertools import count
from typing import Any, cast

import structlog
from prometheus_client import Histogram
from starlette.requests import ClientDisconnect, Request
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.contracts.errors import DomainError, Overloaded
from freehold.contracts.problems import PROBLEM_MEDIA_TYPE
from freehold.http.codings import DecodingReceive, too_large
from freehold.http.deadlines import Deadlines
from freehold.http.direct import Answer, Endpoint, Reply
from freehold.http.headers import completed
from freehold.http.media_types import JSON
from freehold.http.problems import Problem, late_body, unforeseen
from freehold.http.spans import describe, server_span
from freehold.observability import traces
from freehold.observability.logs import begin_request, named_tenant
from freehold.observability.metrics import REQUEST_SECONDS, REQUESTS_REFUSED
from freehold.tenants.traffic import Traffic

_log = structlog.get_logger(__name__)
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}", re.ASCII)
_ID_HEADER = b"x-request-id"
_CODING_HEADER = b"content-encoding"
_HEALTH_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Answered under any load, so that monitoring never loses sight of a service."""
_LOG_EVERY_S = 1.0


class _AnsweredError(Exception):
    """A HEAD request has its answer, and the route would go on to stream a body."""


def is_head(scope: Scope) -> bool:
    """Say whether only the head of an answer is asked for; the route is served as for GET."""
    return "freehold.head" in scope


def _method(scope: Scope) -> str:
    return "HEAD" if is_head(scope) else str(scope["method"])


def _route(scope: Scope) -> str | None:
    """Give the path of a request's route, with its parameters' names; None where there is none."""
    # Of a router within a router only FastAPI's own context has the prefix of the outer one.
    route = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    return getattr(route, "path", None)


class _Exchange:
    """One request: what it holds of the limits, and how it was answered."""

    def __init__(self, access: "Access", scope: Scope, receive: Receive) -> None:
        self.access = access
        self.scope = scope
        self._receive = receive
        self.headers: Mapping[bytes, bytes] = dict(scope["headers"])
        self.request_id = access.request_id(self.headers)
        self.counted = False
        """Whether the body's parts are counted as they arrive."""
        self.held_bytes = 0
        self.status = 0
        self.task: asyncio.Task[Any] | None = None
        """The task with the request's deadline, where it has one."""
        self.waiting = False
        """Whether the request waits for its client."""
        self.in_flight = True
        """Whether the request counts as one in flight."""
        if _CODING_HEADER in self.headers:
            codings = [value for name, value in scope["headers"] if name == _CODING_HEADER]
            self._receive = DecodingReceive(receive, b", ".join(codings).decode("latin-1"))

    async def receive(self) -> Message:
        """Receive a part of the body, unpacked.

        Raises:
            BodyTooLarge: It is.
            Overloaded: All requests together hold too many bytes.
            UnsupportedMediaType, MalformedCoding: It cannot be unpacked.
        """
        self.waiting = True
        message = await self._receive()
        self.waiting = False
        if self.task is not None and not message.get("more_body", False):
            # The time so far was the client's; the answer has its own.
            self.access.deadlines.renew(self.task)
        if self.counted:
            self.access.hold(self, len(message.get("body", b"")))
        return message

    async def serve(self) -> None:
        """Have the request answered."""
        raise NotImplementedError

    async def refuse(self, error: DomainError) -> None:
        """Answer with an error, unless another answer has begun."""
        raise NotImplementedError


class _LayeredExchange(_Exchange):
    """A request that the application answers in the messages of ASGI."""

    def __init__(self, access: "Access", scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(access, scope, receive)
        self._send = send

    async def serve(self) -> None:
        """Have the application answer."""
        await self.access.app(self.scope, self.receive, self.send)

    async def send(self, message: Message) -> None:
        """Send on, with the headers that every answer has.

        Raises:
            _AnsweredError: The answer to a HEAD request is complete.
        """
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = completed(message["headers"])
            headers.append((_ID_HEADER, self.request_id))
            message["headers"] = headers
            await self._send(message)
            if is_head(self.scope):
                # The server asks the scope whether to send a body.
                self.scope["method"] = "HEAD"
                await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        elif not is_head(self.scope):
            await self._send(message)
        elif message.get("more_body", False):
            raise _AnsweredError

    async def refuse(self, error: DomainError) -> None:
        """Answer with an error, unless another answer has begun."""
        if self.status:
            return
        status, extra, body = Problem.of(error)
        headers = [
            (b"content-type", PROBLEM_MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            *((name.lower().encode(), value.encode()) for name, value in extra.items()),
        ]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


class _DirectExchange(_Exchange):
    """A request that the endpoint of a direct route answers, whole."""

    def __init__(
        self, access: "Access", scope: Scope, receive: Receive, answer: Answer, endpoint: Endpoint
    ) -> None:
        super().__init__(access, scope, receive)
        self._answer = answer
        self._endpoint = endpoint

    async def serve(self) -> None:
        """Have the endpoint answer."""
        reply = await self._endpoint(Request(self.scope, self.receive))
        self.status = reply.status
        await self._answer(reply, JSON, self.request_id)

    async def refuse(self, error: DomainError) -> None:
        """Answer with an error, unless another answer has begun."""
        if self.status:
            return
        problem = Problem.of(error)
        self.status = problem.status
        await self._answer(
            Reply(problem.status, problem.body, problem.headers),
            PROBLEM_MEDIA_TYPE,
            self.request_id,
        )


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
        lasting_paths: frozenset[str],
        traffic: Traffic | None = None,
    ) -> None:
        """Set the limits; `new_application` describes them."""
        self.app = app
        self._body_bytes_max = body_bytes_max
        self._requests_in_flight_max = requests_in_flight_max
        self._all_bodies_bytes_max = all_bodies_bytes_max
        self._streaming_paths = streaming_paths
        self._lasting_paths = lasting_paths
        self._traffic = traffic
        self._streaming_patterns = [
            compile_path(path)[0] for path in streaming_paths if "{" in path
        ]
        self._timeout_s = timeout_s
        self.deadlines = Deadlines(timeout_s)
        self._streams = 0
        self._held_bytes = 0
        self._id_prefix = secrets.token_hex(8)
        self._numbers = count(1)
        self._observers: dict[tuple[str, str, int], Histogram] = {}
        self._failures = 0
        self._log_at = 0.0
        # Bound once: a lazy logger is bound anew at each call, even where it logs nothing.
        self._log = _log.bind()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request by the application."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope["freehold.head"] = True
            scope["method"] = "GET"
        await self._serve(_LayeredExchange(self, scope, receive, send))

    def serve_directly(
        self, answer: Answer, endpoint: Endpoint, scope: Scope, receive: Receive, _: Send
    ) -> Awaitable[None]:
        """Serve one request by the endpoint of a direct route."""
        return self._serve(_DirectExchange(self, scope, receive, answer, endpoint))

    def _serve(self, exchange: _Exchange) -> Awaitable[None]:
        if traces.are_on() and exchange.scope["path"] not in _HEALTH_PATHS:
            return self._serve_traced(exchange)
        return self._serve_measured(exchange)

    async def _serve_traced(self, exchange: _Exchange) -> None:
        method = _method(exchange.scope)
        with server_span(method, exchange.headers, exchange.request_id) as span:
            try:
                await self._serve_measured(exchange)
            finally:
                describe(span, method, _route(exchange.scope), exchange.status)

    async def _serve_measured(self, exchange: _Exchange) -> None:
        started = time.perf_counter()
        begin_request(exchange.request_id.decode())
        try:
            self._begin(exchange)
            task = exchange.task
            try:
                await exchange.serve()
            except asyncio.CancelledError:
                # The server may have cancelled the task as well; then it is not only late.
                if task is None or not self.deadlines.is_late(task) or task.uncancel():
                    raise
                raise TimeoutError from None
            finally:
                self._end(exchange)
        except _AnsweredError:
            pass
        except ClientDisconnect:
            # No answer is possible; it is counted under the status that servers log for it.
            exchange.status = 499
        except DomainError as error:
            await exchange.refuse(error)
        except TimeoutError:
            await exchange.refuse(self._late(of_client=exchange.waiting))
        except Exception:  # noqa: BLE001 (the last resort: every failure gets an answer)
            self._log.exception("request failed", path=exchange.scope["path"])
            await exchange.refuse(unforeseen())
        finally:
            self._held_bytes -= exchange.held_bytes
            self._measure(exchange.scope, exchange.status, time.perf_counter() - started)

    def request_id(self, headers: Mapping[bytes, bytes]) -> bytes:
        """Give the id that a client sent with a request, or a new one."""
        request_id = headers.get(_ID_HEADER)
        if request_id is None or not _REQUEST_ID.fullmatch(request_id):
            return f"{self._id_prefix}{next(self._numbers):08x}".encode()
        return request_id

    def hold(self, exchange: _Exchange, bytes_more: int) -> None:
        """Count bytes of a body until its request ends.

        Raises:
            BodyTooLarge: The body has too many.
            Overloaded: All requests together hold too many.
        """
        if exchange.held_bytes + bytes_more > self._body_bytes_max:
            raise too_large(self._body_bytes_max)
        if self._held_bytes + bytes_more > self._all_bodies_bytes_max:
            REQUESTS_REFUSED.labels("all_bodies_bytes_max").inc()
            raise Overloaded("too many bytes of requests are being worked on")
        exchange.held_bytes += bytes_more
        self._held_bytes += bytes_more

    def _begin(self, exchange: _Exchange) -> None:
        """Let a request in, with a deadline unless it streams or lasts; `_end` must follow.

        Raises:
            DomainError: The request goes over a limit.
        """
        path = exchange.scope["path"]
        if path in self._lasting_paths:
            exchange.in_flight = False
            return
        in_flight = len(self.deadlines) + self._streams
        if in_flight >= self._requests_in_flight_max and path not in _HEALTH_PATHS:
            REQUESTS_REFUSED.labels("requests_in_flight_max").inc()
            raise Overloaded("too many requests are being worked on")
        if path in self._streaming_paths or (
            self._streaming_patterns
            and any(pattern.match(path) for pattern in self._streaming_patterns)
        ):
            self._streams += 1
            return
        length = exchange.headers.get(b"content-length", b"")
        if length.isdigit() and _CODING_HEADER not in exchange.headers:
            # The server passes on no more than this, so the parts need not be counted.
            self.hold(exchange, int(length))
        else:
            exchange.counted = True
        exchange.task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.deadlines.begin(exchange.task)

    def _end(self, exchange: _Exchange) -> None:
        if exchange.task is not None:
            self.deadlines.end(exchange.task)
        elif exchange.in_flight:
            self._streams -= 1

    def _late(self, *, of_client: bool) -> DomainError:
        if of_client:
            REQUESTS_REFUSED.labels("request_timeout_s").inc()
            return late_body(self._timeout_s)
        return Overloaded(f"no answer within {self._timeout_s:g} s; try again")

    def _measure(self, scope: Scope, status: int, seconds: float) -> None:
        path, route = scope["path"], _route(scope) or "unknown"
        series = (_method(scope), route, status)
        observer = self._observers.get(series)
        if observer is None:
            # Clients choose the method: unknown ones must not create series without end.
            method = series[0] if route != "unknown" else "any"
            observer = REQUEST_SECONDS.labels(method, route, str(status))
            if route != "unknown":
                self._observers[series] = observer
        observer.observe(seconds)
        if self._traffic is not None and (tenant_id := named_tenant()) is not None:
            self._traffic.answered(tenant_id, failed=status >= 500)
        # A service that is not ready answers 503 as it should, and its lost dependency is logged.
        if status >= 500 and path not in _HEALTH_PATHS:
            self._log_failure(path, status, seconds)
        else:
            self._log.debug("request", path=path, status=status, seconds=seconds)

    def _log_failure(self, path: str, status: int, seconds: float) -> None:
        """Log a failed request, at most one a second: logging must not become the load."""
        self._failures += 1
        now = time.monotonic()
        if now < self._log_at:
            return
        self._log.warning(
            "request", path=path, status=status, seconds=round(seconds, 4), failures=self._failures
        )
        self._failures = 0
        self._log_at = now + _LOG_EVERY_S
