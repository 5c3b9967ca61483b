"""A collector of traces: what services send by OTLP over HTTP, decoded."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from support.waiting import eventually


@dataclass(frozen=True, slots=True)
class Spanned:
    """One span. Ids are hexadecimal."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    linked: frozenset[str]
    """The traces that it is linked to."""
    attributes: dict[str, Any] = field(compare=False, hash=False)
    is_failed: bool = False


class Collector:
    """What came so far."""

    def __init__(self) -> None:
        self.spans: list[Spanned] = []
        self.answers = threading.Event()
        """Whether it answers; else senders wait for nothing."""
        self.answers.set()

    def take(self, body: bytes) -> None:
        """Take a request of the exporter."""
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans.extend(
                    Spanned(
                        service,
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        frozenset(link.trace_id.hex() for link in span.links),
                        _values(span.attributes) | {"events": [*map(str, span.events)]},
                        span.status.code == span.status.STATUS_CODE_ERROR,
                    )
                    for span in scope.spans
                )

    def of(self, trace_id: str) -> list[Spanned]:
        """Give the spans of a trace."""
        return [span for span in self.spans if span.trace_id == trace_id]

    async def span(self, name: str, trace_id: str) -> Spanned:
        """Wait for a span of a trace, or of one that is linked to it."""

        async def found() -> Spanned | None:
            return next(
                (
                    span
                    for span in self.spans
                    if span.name == name and (span.trace_id == trace_id or trace_id in span.linked)
                ),
                None,
            )

        return await eventually(found, f"the span {name} of {trace_id}")


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """Have a collector for a while; gives it and its URL."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.answers.wait()
            collector.take(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield collector, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
