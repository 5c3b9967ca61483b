"""Traces: what one request causes in all services, as spans of OpenTelemetry.

A trace begins with a request, over HTTP or AMQP, and nothing else begins one. Work that is done
once for several requests is one span: the child of one of them, linked to the others. Of a request
that the sampler leaves out, only its ids are known, to its log lines: it causes no other span.

Off unless the environment names an exporter. Then the SDK is not loaded, and every function here
returns at once.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Thread

import structlog
from opentelemetry import context as contexts
from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_log = structlog.get_logger(__name__)

TENANT = "freehold.tenant.id"
"""The attribute that names a span's tenant."""

Attributes = Mapping[str, str | int]
Causes = tuple[SpanContext, ...]
"""The sampled spans that work is done for. Empty while traces are off."""

_CAUSES_MAX = 100
_LAST_SPANS_S = 2.0
_PROTOCOL = "http/protobuf"
_NO_SPAN = nullcontext[Span](INVALID_SPAN)
_PROPAGATOR = TraceContextTextMapPropagator()

_tracer: Tracer | None = None
_end: Callable[[], None] | None = None


def configure_traces(service: str, version: str) -> None:
    """Turn traces on if the environment names an exporter.

    A setting that cannot be used is logged: a service can run without traces.
    """
    global _tracer, _end
    if not _exporter_is_named(os.environ):
        return
    # Late: it takes 0.1 s and 20 MB, which most installations can save.
    from freehold.observability.exporter import start  # noqa: PLC0415

    try:
        _refuse_unknown(os.environ)
        _tracer, _end = start(f"freehold-{service}", version)
    except ValueError as error:
        _log.error("traces are off", fault=str(error))


async def end_traces() -> None:
    """Hand over the last spans, for at most 2 s."""
    global _tracer, _end
    end, _tracer, _end = _end, None, None
    if end is not None:
        # A daemon: a collector that does not answer must not hold up the process's end either.
        ending = Thread(target=end, daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, _LAST_SPANS_S)


def are_on() -> bool:
    """Say whether spans are made."""
    return _tracer is not None


def request_span(
    name: str, kind: SpanKind, carrier: Mapping[str, object], attributes: Attributes
) -> AbstractContextManager[Span]:
    """Begin the span of a request; it goes on with the trace that the request's headers name."""
    if _tracer is None:
        return _NO_SPAN
    return _active(_tracer, name, kind, _extracted(carrier), attributes=attributes)


def caused_span(
    name: str, causes: Causes, *, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes
) -> AbstractContextManager[Span]:
    """Begin the span of work that is done for others; without any, there is none."""
    if _tracer is None or not causes:
        return _NO_SPAN
    parent, *others = causes
    links = [Link(cause) for cause in others]
    within = set_span_in_context(NonRecordingSpan(parent), Context())
    return _active(_tracer, name, kind, within, links=links, attributes=attributes)


def causes() -> Causes:
    """Give the active span, as the cause of work that another task does."""
    if _tracer is None:
        return ()
    return _sampled(get_current_span())


def joined(*several: Causes) -> Causes:
    """Join causes. Beyond a hundred the latest are left out."""
    if _tracer is None:
        return ()
    return tuple(cause for each in several for cause in each)[:_CAUSES_MAX]


def received(carrier: Mapping[str, object]) -> Causes:
    """Give the cause that a message's headers name."""
    if _tracer is None:
        return ()
    return _sampled(get_current_span(_extracted(carrier)))


def sent() -> dict[str, str]:
    """Give the headers that name the active span to the receiver of a message."""
    carrier: dict[str, str] = {}
    if _tracer is not None:
        _PROPAGATOR.inject(carrier)
    return carrier


def leave() -> None:
    """Leave the active span, in a task that outlives what started it."""
    if _tracer is not None:
        contexts.attach(Context())


def ids() -> dict[str, str] | None:
    """Give the ids of the active span, in hexadecimal; None where there is none."""
    if _tracer is None:
        return None
    active = get_current_span().get_span_context()
    if not active.is_valid:
        return None
    return {"trace_id": f"{active.trace_id:032x}", "span_id": f"{active.span_id:016x}"}


def exemplar() -> dict[str, str] | None:
    """Give the ids of the active span if it is sampled, so that it can be found."""
    if _tracer is None or not get_current_span().get_span_context().trace_flags.sampled:
        return None
    return ids()


@contextmanager
def _active(
    tracer: Tracer,
    name: str,
    kind: SpanKind,
    parent: Context,
    *,
    links: Iterable[Link] = (),
    attributes: Attributes,
) -> Iterator[Span]:
    with tracer.start_as_current_span(
        name,
        parent,
        kind,
        attributes,
        list(links),
        # What an error says may hold values.
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield span
        except Exception as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(StatusCode.ERROR)
            raise


def _sampled(span: Span) -> Causes:
    context = span.get_span_context()
    return (context,) if context.trace_flags.sampled else ()


def _extracted(carrier: Mapping[str, object]) -> Context:
    # The propagator takes text for granted, and a message's headers may have any type.
    text = {name: value for name, value in carrier.items() if isinstance(value, str)}
    return _PROPAGATOR.extract(text, Context()) if text else Context()


def _exporter_is_named(environment: Mapping[str, str]) -> bool:
    """Say whether traces are asked for, by the specification's variables.

    Its default would export to this machine: that is left out, since nobody asked for it.
    """
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip()
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    return exporter != "none" if exporter else any(map(environment.get, endpoints))


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip() or "otlp"
    if exporter != "otlp":
        raise ValueError(f"OTEL_TRACES_EXPORTER={exporter}: the only exporter here is otlp")
    protocol = (
        environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or _PROTOCOL
    )
    if protocol != _PROTOCOL:
        raise ValueError(f"OTLP by {protocol}: only {_PROTOCOL} is spoken here")
