"""The SDK of OpenTelemetry: loaded only where traces are on (see traces.py).

It reads the `OTEL_` variables by itself. Ended spans wait in a bounded queue for a thread that
hands them to the collector; those beyond it are dropped.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import INVALID_SPAN, Span, Tracer, get_current_span
from opentelemetry.trace import TracerProvider as AnyTracerProvider

_STATEMENTS = ("db.statement", "db.query.text")


def start(service: str, version: str) -> tuple[Tracer, Callable[[], None]]:
    """Begin to export; answers the tracer, and what ends it.

    Raises:
        ValueError: A variable cannot be used.
    """
    resource = {"service.name": service, "service.version": version}
    given = OTELResourceDetector().detect().attributes
    provider = TracerProvider(
        resource=Resource.create({**resource, **given}),
        # The process ends by a signal, and with a deadline.
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    instrumentor = AsyncPGInstrumentor()  # type: ignore[no-untyped-call]
    instrumentor.instrument(tracer_provider=_DiscreetProvider(provider))
    return provider.get_tracer("freehold", version), provider.shutdown


class _DiscreetProvider(AnyTracerProvider):
    """Gives tracers to libraries."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider

    def get_tracer(self, *args: Any, **kwargs: Any) -> Tracer:
        return _DiscreetTracer(self._provider.get_tracer(*args, **kwargs))


class _DiscreetTracer(Tracer):
    """Makes spans of statements: only within others, and without any value.

    Statements that no request caused, such as a heartbeat's, would be traces of their own. Values
    are bound, so a statement with a literal is one that Postgres has written out, with a password
    perhaps. What an error says names keys and amounts.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def start_span(self, name: str, *args: Any, **kwargs: Any) -> Span:
        return self._tracer.start_span(name, *args, **kwargs)

    def start_as_current_span(  # type: ignore[override]  # a context manager, and no decorator
        self, name: str, *, attributes: dict[str, Any], **kwargs: Any
    ) -> AbstractContextManager[Span]:
        if not get_current_span().is_recording():
            return nullcontext(INVALID_SPAN)
        for statement in _STATEMENTS:
            if any(quote in attributes.get(statement, "") for quote in ("'", "$$")):
                del attributes[statement]
        return self._tracer.start_as_current_span(
            name,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
            **kwargs,
        )
