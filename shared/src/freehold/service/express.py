"""Express lanes: requests of one method and path, served without all that ASGI makes for each.

Whether a request is ordinary, and whether its sender is let in, is seen when its head is there, and
before anything is held for its body. Such a one is handed on when it is whole, and answered by
whoever has its answer: no task, scope or future is made for it. One whose sender has had their
share is refused here, too, as a flood of those must cost as little as can be. Anything else goes
the way of all other requests, so every other refusal comes from one place.

These refusals are sent at a pace of their own, a few at a time: between them those are served who
were let in, and who goes on sending whatever they are told is held back, answer by answer.
"""

import asyncio
import time
from collections import deque
from collections.abc import Mapping
from typing import Protocol

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from freehold.contracts.problems import PROBLEM_MEDIA_TYPE, Problem, internal
from freehold.service.access import Access

_log = structlog.get_logger(__name__)
_JSON_HEADERS = b"content-type: application/json\r\n"
_UNUSUAL = frozenset({b"transfer-encoding", b"upgrade", b"expect"})
_BODY_BYTES_MAX = 65_536
_REFUSED_AT_ONCE = 5
_REFUSING_PAUSE_S = 0.01
_REFUSED_WAITING_MAX = 256
"""More are not held back: each has one of the places in flight, which are there for others."""
_Headers = Mapping[bytes, bytes]


class Connection(Protocol):
    """What a request needs of the connection that it came by."""

    loop: asyncio.AbstractEventLoop

    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Give the headers that stand in every answer; another list when they change."""
        ...

    def send_whole(self, answer: bytes, *, keep_alive: bool) -> None:
        """Send an answer from its status line to its end, and go on to the next request."""
        ...


class Admission(Protocol):
    """That a request was let in, which is to end once."""

    def leave(self) -> None:
        """Let the request go."""
        ...

    def undo(self) -> None:
        """Have the request not been let in: it goes another way."""
        ...


class ExpressRequest:
    """A request from when the lane has it until it is answered.

    To uvicorn's protocol it is the connection's cycle: what comes after it waits in the pipeline, a
    server that ends waits for its answer, and a connection that is lost tells it so.
    """

    __slots__ = (
        "_body_bytes",
        "_connection",
        "_lane",
        "_started",
        "admission",
        "body",
        "disconnected",
        "headers",
        "keep_alive",
        "request_id",
        "response_complete",
        "tenant_id",
    )

    # Set by uvicorn for the task that waits for a body, which is here already.
    message_event = asyncio.Event()

    def __init__(
        self,
        lane: "ExpressLane",
        connection: Connection,
        headers: _Headers,
        body_bytes: int,
        *,
        keep_alive: bool,
    ) -> None:
        self._body_bytes = body_bytes
        self._lane = lane
        self._connection = connection
        self._started = time.perf_counter()
        self.admission: Admission | None = None
        self.headers = headers
        self.body = b""
        self.request_id = lane.access.request_id(headers).decode()
        self.tenant_id: str | None = None
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False

    def answer(self, status: int, body: bytes, headers: bytes = b"") -> None:
        """Answer with JSON, unless there was an answer before.

        Args:
            status: The status code.
            body: The JSON text.
            headers: More header lines, each with its end.
        """
        self._answer(status, body, _JSON_HEADERS + headers)

    def refuse(self, problem: Problem) -> None:
        """Answer with a problem, unless there was an answer before."""
        lines = [f"content-type: {PROBLEM_MEDIA_TYPE}\r\n"]
        lines += [f"{name.lower()}: {value}\r\n" for name, value in problem.headers.items()]
        self._answer(problem.kind.status, problem.body(), "".join(lines).encode())

    def fail(self, error: BaseException) -> None:
        """Answer with what went wrong, unless there was an answer before."""
        if isinstance(error, Problem):
            self.refuse(error)
        elif not self.response_complete:
            _log.error(
                "request failed",
                path=self._lane.path,
                request_id=self.request_id,
                tenant_id=self.tenant_id,
                exc_info=error,
            )
            self.refuse(internal())

    def cancel(self) -> None:
        """Answer that it is too late; what was begun goes on, and nobody hears of its end."""
        self.refuse(self._lane.access.late())

    def hand_on(self, body: bytes) -> bool:
        """Have it served now that it is whole; or let go of it, and say that nobody took it."""
        self.body = body
        # One that was not let in waits for its refusal.
        if self.admission is None or self._lane.served(self):
            return True
        self.admission.undo()
        self._let_go()
        return False

    def abandon(self) -> None:
        """Let go of it, for nobody is left to send its body or to answer."""
        if not self.response_complete:
            if self.admission is not None:
                self.admission.leave()
            self._let_go()
            # As for all others whose client went away before the end.
            self._lane.measure(self, 499, time.perf_counter() - self._started)

    def _let_go(self) -> None:
        self.response_complete = True
        self._lane.access.leave(self, self._body_bytes)

    def _answer(self, status: int, body: bytes, headers: bytes) -> None:
        if self.response_complete:
            return
        self.response_complete = True
        answer = b"%b%bcontent-length: %d\r\n%bx-request-id: %b\r\n%b\r\n%b" % (
            STATUS_LINE[status],
            self._lane.default_head(self._connection.default_headers()),
            len(body),
            headers,
            self.request_id.encode(),
            b"" if self.keep_alive else b"connection: close\r\n",
            body,
        )
        self._lane.access.leave(self, self._body_bytes)
        self._lane.measure(self, status, time.perf_counter() - self._started)
        if self.admission is not None:
            self.admission.leave()
        self._connection.send_whole(answer, keep_alive=self.keep_alive)


class ExpressService(Protocol):
    """Serves the requests of a lane."""

    def admit(self, request: ExpressRequest) -> Admission | None:
        """Let a request in whose head is there; None where that is for its route to decide.

        Raises:
            Problem: It is refused, as its route would refuse it.
        """
        ...

    def serve(self, request: ExpressRequest) -> bool:
        """Take a request that is whole, to answer it later; or leave it, all as it was before."""
        ...


class ExpressLane:
    """The requests of one method and path, within the limits that hold for all."""

    def __init__(self, access: Access, method: str, path: str, service: ExpressService) -> None:
        """Set up the lane.

        Args:
            access: Counts and measures the requests, among all others.
            method: The method.
            path: The path, as it stands in a request: one without parameters.
            service: Serves the requests.
        """
        self.access = access
        self.path = path
        self.method = method
        self._method_sent = method.encode()
        self._service = service
        self._refused: deque[tuple[ExpressRequest, Problem]] = deque()
        self._refusing = False
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._default_head = b""

    def ordinary(self, method: bytes, headers: list[tuple[bytes, bytes]]) -> _Headers | None:
        """Give a request's headers by name, if there is nothing unusual about its head."""
        if method != self._method_sent:
            return None
        by_name = dict(headers)
        if len(by_name) < len(headers) or not _UNUSUAL.isdisjoint(by_name):
            return None
        return by_name

    def begin(
        self, connection: Connection, headers: _Headers, *, keep_alive: bool
    ) -> ExpressRequest | None:
        """Begin with a request whose body is not a large one: it is let in, or to be refused."""
        length = headers.get(b"content-length", b"0")
        body_bytes = int(length) if length.isdigit() else _BODY_BYTES_MAX + 1
        if body_bytes > _BODY_BYTES_MAX:
            return None
        request = ExpressRequest(self, connection, headers, body_bytes, keep_alive=keep_alive)
        if not self.access.enter(request, body_bytes, connection.loop):
            return None
        try:
            request.admission = self._service.admit(request)
        except Problem as problem:
            self._refuse_in_turn(request, problem, connection.loop)
            return request
        except Exception:  # noqa: BLE001 (its route may know what to do, and will say so if not)
            _log.exception("express lane failed", path=self.path)
        if request.admission is None:
            self.access.leave(request, body_bytes)
            return None
        return request

    def _refuse_in_turn(
        self, request: ExpressRequest, problem: Problem, loop: asyncio.AbstractEventLoop
    ) -> None:
        if len(self._refused) >= _REFUSED_WAITING_MAX:
            request.refuse(problem)
            return
        # Without the frames that it came through, which have the request and this very problem.
        self._refused.append((request, problem.with_traceback(None)))
        if not self._refusing:
            self._refusing = True
            loop.call_soon(self._refuse_some, loop)

    def _refuse_some(self, loop: asyncio.AbstractEventLoop) -> None:
        self._refusing = bool(self._refused)
        if self._refusing:
            loop.call_later(_REFUSING_PAUSE_S, self._refuse_some, loop)
        for _ in range(min(len(self._refused), _REFUSED_AT_ONCE)):
            request, problem = self._refused.popleft()
            request.refuse(problem)

    def served(self, request: ExpressRequest) -> bool:
        """Have a request served; False where it is left."""
        try:
            return self._service.serve(request)
        except Exception:  # noqa: BLE001 (as above)
            _log.exception("express lane failed", path=self.path)
            return False

    def default_head(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Write the headers that stand in every answer, when they have changed."""
        if headers is not self._default_headers:
            self._default_headers = headers
            self._default_head = b"".join(b"%b: %b\r\n" % header for header in headers)
        return self._default_head

    def measure(self, request: ExpressRequest, status: int, seconds: float) -> None:
        """Measure a request that was answered."""
        series = (self.method, self.path, status)
        whose = {"request_id": request.request_id, "tenant_id": request.tenant_id}
        self.access.measure(series, self.path, seconds, whose)
