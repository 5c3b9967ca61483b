"""What the spans of libraries tell, and which settings of traces are refused."""

import os
import subprocess
import sys

import asyncpg
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from freehold.observability.exporter import _DiscreetProvider

_STATEMENT = "SELECT * FROM append($1)"


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exported: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    return provider


def run(provider: TracerProvider, statement: str) -> None:
    """Do as the instrumentation of asyncpg does with a statement that fails."""
    tracer = _DiscreetProvider(provider).get_tracer("asyncpg")
    with (
        pytest.raises(asyncpg.UniqueViolationError),
        tracer.start_as_current_span(
            "SELECT", kind=SpanKind.CLIENT, attributes={"db.statement": statement}
        ),
    ):
        raise asyncpg.UniqueViolationError("Key (account_id)=(acct_secret) exists")


def test_a_statement_within_a_span_is_shown_without_what_its_error_says(
    provider: TracerProvider, exported: InMemorySpanExporter
) -> None:
    with provider.get_tracer("freehold").start_as_current_span("append"):
        run(provider, _STATEMENT)
    statement, _ = exported.get_finished_spans()
    assert statement.attributes == {"db.statement": _STATEMENT}
    assert "acct_secret" not in statement.to_json()


@pytest.mark.parametrize("text", ["ALTER ROLE r PASSWORD 'secret'", "DO $$ secret $$"])
def test_a_statement_with_a_literal_is_not_shown(
    provider: TracerProvider, exported: InMemorySpanExporter, text: str
) -> None:
    with provider.get_tracer("freehold").start_as_current_span("rotate"):
        run(provider, text)
    assert not any("secret" in span.to_json() for span in exported.get_finished_spans())


def test_a_statement_without_a_request_is_no_trace(
    provider: TracerProvider, exported: InMemorySpanExporter
) -> None:
    run(provider, _STATEMENT)
    assert not exported.get_finished_spans()


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
        {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_MAX_QUEUE_SIZE": "-1"},
    ],
)
def test_settings_that_cannot_be_used_are_logged(variables: dict[str, str]) -> None:
    program = (
        "from freehold.observability.traces import are_on, configure_traces\n"
        "configure_traces('ingest', '1')\n"
        "assert not are_on()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **variables},
        check=True,
        capture_output=True,
        text=True,
    )
    assert "traces are off" in done.stdout + done.stderr
