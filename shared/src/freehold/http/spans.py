"""Spans of requests, with the attributes of OpenTelemetry's semantic conventions for HTTP servers.

None has a path or a query: they name accounts, and may hold a token.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager

from opentelemetry.trace import Span, SpanKind, StatusCode

from freehold.observability.logs import named_tenant
from freehold.observability.traces import TENANT, request_span

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_TRACE_HEADERS = (b"traceparent", b"tracestate")


def server_span(
    method: str, headers: Mapping[bytes, bytes], request_id: bytes
) -> AbstractContextManager[Span]:
    """Begin the span of a request, in its client's trace if there is one (W3C Trace Context)."""
    carrier = {
        name.decode(): headers[name].decode("latin-1") for name in _TRACE_HEADERS if name in headers
    }
    return request_span(
        method if method in _METHODS else "HTTP",
        SpanKind.SERVER,
        carrier,
        {
            "http.request.method": _named(method),
            "url.scheme": "http",
            "freehold.request.id": request_id.decode(),
        },
    )


def describe(span: Span, method: str, route: str | None, status: int) -> None:
    """Add what is known when a request has its answer."""
    if not span.is_recording():
        return
    if route is not None:
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
    tenant_id = named_tenant()
    if tenant_id is not None:
        span.set_attribute(TENANT, tenant_id)
    if status:
        span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_attribute("error.type", str(status))
        span.set_status(StatusCode.ERROR)


def _named(method: str) -> str:
    """Give a method's name. Clients may make up any: others share one."""
    return method if method in _METHODS else "_OTHER"
