"""HTTP connections as uvicorn has them, bounded where it is not, with half as many writes.

Ordinary requests of a few routes take an express lane (see express.py): held back where uvicorn
would begin to serve them, they are handed on when they are whole.

An offer to go on in another protocol is not taken: such a request is read as if it made none.

Bounded are how long a request's head may be, and how long it may take. What comes after it is
bounded elsewhere: a body by `Access`, the number of connections by the files that the process may
open.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from freehold.service.express import ExpressLane, ExpressRequest

HEAD_BYTES_MAX = 65_536
HEAD_TIMEOUT_S = 10.0
# More is dearer to copy than a second write is.
_JOINED_BYTES_MAX = 65_536
_CONNECT = b"CONNECT"
# What makes an offer: fields, and options of `connection` (RFC 9110, 7.8; RFC 7540, 3.2.1).
_OFFER = frozenset({b"upgrade", b"http2-settings"})


class _JoiningTransport:
    """A transport that sends an answer's head together with the body that follows it at once.

    uvicorn writes them one after the other and uvloop sends each right away, which costs an answer
    a second system call, and its client a second awakening.
    """

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def __getattr__(self, name: str) -> Any:
        """Be the transport in all else."""
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Write, or wait with a head for what comes before the event loop goes on."""
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

    def write_whole(self, data: bytes) -> None:
        """Write an answer from its beginning to its end."""
        self._flush()
        self._transport.write(data)

    def is_closing(self) -> bool:
        """Say whether the connection is being closed."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Close when all is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            self._transport.write(self._head)
            self._head = b""


class BoundedHttpProtocol(HttpToolsProtocol):
    """A connection that is closed where the next request's head does not come, or does not end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._lanes: Mapping[bytes, ExpressLane] = getattr(self.config.app, "express_lanes", {})
        # The request that is held back, and what has come of its body.
        self._held: ExpressRequest | None = None
        self._held_body = b""
        self._in_message = False
        # The head that is read in place of one that made an offer.
        self._declined = b""
        # What has come since the last part of a body: sizes of chunks, trailers.
        self._between_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.transport = cast("asyncio.Transport", _JoiningTransport(transport, self.loop))
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Read on; uvicorn makes a new scope where a head begins and completes it where it ends."""
        was_in_head = self._in_head
        self._between_bytes += len(data)
        self._read(data)
        if self._in_message and self._between_bytes > HEAD_BYTES_MAX:
            self.transport.close()
            return
        self._in_head = self.scope is not None and "method" not in self.scope
        if self._in_head:
            # The part with its beginning is not counted: it may be the end of a body as well.
            self._head_bytes = self._head_bytes + len(data) if was_in_head else 0
            if self._head_bytes > HEAD_BYTES_MAX:
                self.send_400_response("The head of the request is too long.")
            else:
                self._expect_head()
        elif self._idle():
            # Line ends between requests, or the rest of a body that was answered before its end.
            self._expect_head()
        elif self._head_timer is not None:
            self._stop_timer()

    def _read(self, data: bytes) -> None:
        """Read on as uvicorn does, but for offers: to the parser a request ends with its offer."""
        self._unset_keepalive_if_required()
        try:
            while data:
                try:
                    self.parser.feed_data(data)
                except httptools.HttpParserUpgrade as offer:
                    data, self._declined = self._declined + data[offer.args[0] :], b""
                    # One that has read `connection: close` reads nothing more.
                    self.parser = httptools.HttpRequestParser(self)
                    self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
                else:
                    return
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head; those after a body are left out (RFC 9110, section 6.5.1)."""
        if not self._in_message:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hold an ordinary request back where there is a lane for it; begin to serve any other."""
        if self.parser.should_upgrade():
            self._declined = self._head_without_offer()
            return
        self._in_message = True
        self._between_bytes = 0
        lane = self._lanes.get(self.url)
        if lane is not None and self._idle() and not self.flow.write_paused:
            headers = lane.ordinary(self.parser.get_method(), self.headers)
            if headers is not None:
                self._held = lane.begin(self, headers, keep_alive=self._keeps_alive())
                if self._held is not None:
                    # The server waits for it as for any other; its head has come to its end.
                    self.cycle = cast("Any", self._held)
                    self.scope["method"] = lane.method
                    return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._between_bytes = 0
        if self._held is None:
            super().on_body(body)
        else:
            self._held_body = self._held_body + body if self._held_body else body

    def on_message_complete(self) -> None:
        """Hand a request on that is whole and was held back."""
        if self._declined:
            return
        self._in_message = False
        held = self._held
        if held is None:
            super().on_message_complete()
            return
        body, self._held, self._held_body = self._held_body, None, b""
        # It may have come too late.
        if held.response_complete or held.hand_on(body):
            return
        self.cycle = cast("Any", None)
        super().on_headers_complete()
        # The server may have begun to end meanwhile.
        self.cycle.keep_alive = held.keep_alive
        super().on_body(body)
        super().on_message_complete()

    def _head_without_offer(self) -> bytes:
        """Write the head that is being read as it would stand without its offer.

        Raises:
            ValueError: The method makes it; no path of ours is asked for so.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == _CONNECT:
            raise ValueError("nothing is passed on to other servers")
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                options = [option.strip() for option in value.split(b",")]
                kept = b", ".join([option for option in options if option.lower() not in _OFFER])
                lines.append(b"connection: %b" % kept)
            elif name not in _OFFER:
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join([*lines, b"", b""])

    def _keeps_alive(self) -> bool:
        keeps: bool = self.parser.should_keep_alive()
        return keeps and self.parser.get_http_version() != "1.0"

    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Give the headers that stand in every answer; another list when they change."""
        return self.server_state.default_headers

    def send_whole(self, answer: bytes, *, keep_alive: bool) -> None:
        """Send an answer from its status line to its end, and go on to the next request."""
        if not self.transport.is_closing():
            cast("_JoiningTransport", self.transport).write_whole(answer)
            if not keep_alive:
                self.transport.close()
        self.on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_timer()
        if self._held is not None:
            self._held.abandon()
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
