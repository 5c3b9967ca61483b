"""HTTP connections as uvicorn has them, bounded where it is not, with half as many writes.

This module builds on names of uvicorn that are not documented, so its version is capped in
`pyproject.toml`: try the tests of this module before you raise the cap.

An offer to change the protocol is ignored (RFC 9110, section 7.8).

Bounded are the length of a request's head, the time it takes, and the time that an answer waits for
a client that reads nothing. `Access` bounds the body; the number of open files bounds the number of
connections.

A request that breaks the rules of HTTP is answered with a problem, and nothing more is read:
where the next message begins is unknown (RFC 9112, section 11.2).
"""

import asyncio
import socket
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import httptools
import structlog
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from freehold.contracts.errors import DomainError
from freehold.contracts.problems import PROBLEM_MEDIA_TYPE
from freehold.http.application import Application
from freehold.http.direct import Reply
from freehold.http.errors import HeadTooLarge, Unimplemented
from freehold.http.headers import standard_lines
from freehold.http.heads import (
    HEAD_BYTES_MAX,
    check_head,
    head_too_large,
    parser_error,
    target_too_long,
)
from freehold.http.problems import Problem
from freehold.observability.metrics import REQUEST_SECONDS

_log = structlog.get_logger(__name__)

HEAD_TIMEOUT_S = 10.0
UNREAD_TIMEOUT_S = 30.0
"""A client that takes nothing of an answer for this long is disconnected."""
_UNSENT_BYTES_MAX = 131_072
# To copy more costs more than a second write.
_JOINED_BYTES_MAX = 65_536
_CONNECT = b"CONNECT"
# What makes an offer: fields, and options of `connection` (RFC 9110, 7.8; RFC 7540, 3.2.1).
_OFFER = frozenset({b"upgrade", b"http2-settings"})


class _JoiningTransport:
    """A transport that sends an answer's head together with the body that follows it at once.

    uvicorn writes them one after the other, and uvloop sends each at once: that costs an answer a
    second system call, and wakes its client twice.
    """

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        """Give every other attribute of the transport."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write data; keep a head until the body follows, or the event loop goes on."""
        if self._head:
            if len(data) > _JOINED_BYTES_MAX:
                self._flush()
            else:
                self._head, data = b"", self._head + data
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def write_answer(self, answer: bytes) -> None:
        """Write a whole answer."""
        self._flush()
        self._transport.write(answer)

    def is_closing(self) -> bool:
        """Whether the connection is being closed."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close once everything is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            self._transport.write(self._head)
            self._head = b""


class BoundedHttpProtocol(HttpToolsProtocol):
    """A connection that bounds the heads of requests, and the time that answers wait."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._application = cast("Application", self.config.app)
        self._in_head = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._in_message = False
        # The head to read in place of one with an offer to change the protocol.
        self._declined = b""
        # Bytes since the last part of a body: sizes of chunks, trailers.
        self._between_bytes = 0
        # Why nothing more is read. Sent when all earlier requests have their answers.
        self._refusal: DomainError | None = None
        self._unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        # Otherwise the system keeps megabytes for a client that reads slowly or not at all.
        system_socket = transport.get_extra_info("socket")
        system_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES_MAX)
        self.transport = cast("asyncio.Transport", _JoiningTransport(transport, self.loop))
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Read on; uvicorn makes a new scope where a head begins and completes it where it ends."""
        if self._refusal is not None:
            return
        was_in_head = self._in_head
        self._between_bytes += len(data)
        if not self._read(data):
            self._stop_timer()
            return
        if self._in_message and self._between_bytes > HEAD_BYTES_MAX:
            detail = f"between parts of a body may be at most {HEAD_BYTES_MAX} bytes"
            self._refuse(HeadTooLarge(detail))
            return
        self._in_head = self.scope is not None and "method" not in self.scope
        if self._in_head:
            # The part with its beginning is not counted: it may be the end of a body as well.
            self._head_bytes = self._head_bytes + len(data) if was_in_head else 0
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(head_too_large() if self.headers else target_too_long())
            else:
                self._expect_head()
        elif self._idle():
            # Line ends between requests, or the rest of a body that was answered before its end.
            self._expect_head()
        elif self._head_timer is not None:
            self._stop_timer()

    def _read(self, data: bytes) -> bool:
        """Read on as uvicorn does, but for offers: to the parser a request ends with its offer.

        Returns:
            Whether there may be more to read.
        """
        self._unset_keepalive_if_required()
        try:
            while data:
                try:
                    self.parser.feed_data(data)
                except httptools.HttpParserUpgrade as offer:
                    data, self._declined = self._declined + data[offer.args[0] :], b""
                    # A parser that has read `connection: close` reads nothing more.
                    self.parser = httptools.HttpRequestParser(self)
                    self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                else:
                    break
        except httptools.HttpParserError as error:
            self._refuse(parser_error(error))
            return False
        return True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head; those after a body are left out (RFC 9110, section 6.5.1)."""
        if not self._in_message:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Begin to serve a request.

        Raises:
            DomainError: As `check_head`.
        """
        check_head(self.parser.get_http_version(), self.url, self.headers)
        if self.parser.should_upgrade():
            self._declined = self._head_without_offer()
            return
        self._in_message = True
        self._between_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._between_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Hand on that a request is whole."""
        if not self._declined:
            self._in_message = False
            super().on_message_complete()

    def _head_without_offer(self) -> bytes:
        """Write the head that is being read as it would stand without its offer.

        Raises:
            DomainError: not-implemented, where the method makes it.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == _CONNECT:
            raise Unimplemented("nothing is passed on to other servers")
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                options = [option.strip() for option in value.split(b",")]
                kept = b", ".join([option for option in options if option.lower() not in _OFFER])
                lines.append(b"connection: %b" % kept)
            elif name not in _OFFER:
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join([*lines, b"", b""])

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Begin to serve a request; one for a direct route is answered in one piece."""
        scope = cast("Scope", cycle.scope)
        if found := self._application.direct_route(scope):
            scope["route"], scope["path_params"] = found
            answer = partial(self._answer, cycle)
            endpoint = scope["route"].endpoint
            app = partial(self._application.access.serve_directly, answer, endpoint)
        super()._start_asgi_task(cycle, app)

    async def _answer(
        self, cycle: RequestResponseCycle, reply: Reply, media_type: str, request_id: bytes
    ) -> None:
        """Send a whole answer, unless the client is gone."""
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if cycle.disconnected:
            return
        cycle.keep_alive = cycle.keep_alive and "Connection" not in reply.headers
        answer = self._written(reply, media_type, request_id, keep_alive=cycle.keep_alive)
        cast("_JoiningTransport", self.transport).write_answer(answer)
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _written(
        self, reply: Reply, media_type: str, request_id: bytes, *, keep_alive: bool
    ) -> bytes:
        status, body, headers = reply
        lines = "".join(
            [
                f"{name.lower()}: {value}\r\n"
                for name, value in headers.items()
                if name != "Connection"
            ]
        )
        # A 304 tells of a body and has none (RFC 9110, section 15.4.5).
        about = b"content-type: %b\r\ncontent-length: %d\r\n" % (media_type.encode(), len(body))
        return b"%b%b%b%b%bx-request-id: %b\r\n%b\r\n%b" % (
            STATUS_LINE[status],
            b"".join([b"%b: %b\r\n" % field for field in self.server_state.default_headers]),
            standard_lines(headers),
            b"" if status == HTTPStatus.NOT_MODIFIED else about,
            lines.encode(),
            request_id,
            b"" if keep_alive else b"connection: close\r\n",
            body,
        )

    def on_response_complete(self) -> None:
        """Go on to the next request, or say why there is none."""
        was_last = not self.pipeline
        super().on_response_complete()
        if self._refusal is not None and was_last:
            self._send_refusal(self._refusal)

    def _refuse(self, error: DomainError) -> None:
        """Read nothing more, and say why when what came before has its answers."""
        self._refusal = error
        cycle = self.cycle
        if self._in_message and cycle is not None:
            # This message is at fault, so neither its end nor its answer is waited for.
            if self.pipeline and self.pipeline[0][0] is cycle:
                self.pipeline.popleft()
                return
            answered = cycle.response_started
            cycle.disconnected = True
            cycle.message_event.set()
            if answered:
                # One request has one answer.
                self.transport.close()
                return
        elif not self._idle():
            return
        self._send_refusal(error)

    def _send_refusal(self, error: DomainError) -> None:
        if self.transport.is_closing():
            return
        problem = Problem.of(error)
        request_id = self._application.access.request_id(dict(self.headers or ()))
        # What else such a problem has in its head is for a connection that goes on.
        reply = Reply(problem.status, problem.body)
        self.transport.write(self._written(reply, PROBLEM_MEDIA_TYPE, request_id, keep_alive=False))
        self.transport.close()
        # Among the requests without a route, which have no length either.
        REQUEST_SECONDS.labels("any", "unknown", str(problem.status)).observe(0)
        _log.debug("no request", fault=error.detail, request_id=request_id.decode())

    def shutdown(self) -> None:
        """Finish the request under way: the server stops."""
        self._application.stop()
        super().shutdown()

    def pause_writing(self) -> None:
        """Write no more until the client has read, for which there is a time."""
        super().pause_writing()
        self._expect_reading(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Write again."""
        super().resume_writing()
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _expect_reading(self, unread: int) -> None:
        self._unread_timer = self.loop.call_later(UNREAD_TIMEOUT_S, self._look_at_unread, unread)

    def _look_at_unread(self, before: int) -> None:
        unread = self.transport.get_write_buffer_size()
        if unread < before:
            self._expect_reading(unread)
        else:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_timer()
        if self._unread_timer is not None:
            self._unread_timer.cancel()
        super().connection_lost(exc)

    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._head_is_late)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self._idle():
            self.transport.close()
        else:
            # The request before is still being worked on, and its answer must not be lost.
            self._expect_head()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
