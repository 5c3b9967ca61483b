"""Traces, from a request to the live stream, as a collector gets them from a stack of its own."""

import asyncio
import json
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from freehold.messaging.topology import LEDGER_EXCHANGE
from freehold_local.stack import Stack
from support.clients import Freehold, Tenant, event_body, reaching
from support.collector import Collector, Spanned, collecting
from support.live import listening
from support.stacks import addresses_of, private_stack
from support.upstream import upstream_of
from support.waiting import PATIENCE_S, eventually

_OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}


@dataclass(frozen=True, slots=True)
class Traced:
    """A Freehold whose services export their traces."""

    stack: Stack
    freehold: Freehold
    collector: Collector


@pytest.fixture(scope="module")
def traced_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Collector]]:
    services = ("tenant-manager", "ingest", "projector", "query")
    with collecting() as (collector, url):
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "FREEHOLD_LOG_LEVEL": "debug",
        }
        with private_stack(
            tmp_path_factory.mktemp("traces"), dict.fromkeys(services, variables), durable=False
        ) as stack:
            yield stack, collector
            # Or each service would wait for it when it ends.
            collector.answers.set()


@pytest.fixture(scope="module")
async def traced(traced_stack: tuple[Stack, Collector]) -> AsyncIterator[Traced]:
    stack, collector = traced_stack
    async with reaching(addresses_of(stack)) as freehold:
        yield Traced(stack, freehold, collector)


@pytest.fixture(scope="module")
async def traced_tenant(traced: Traced) -> Tenant:
    return await traced.freehold.new_tenant()


@pytest.mark.local
async def test_one_request_is_one_trace_up_to_the_stream(
    traced: Traced, traced_tenant: Tenant
) -> None:
    trace_id, parent_id = new_ids()
    body = event_body(account_id="acct_secretive", amount_minor=987_654)
    async with listening(traced_tenant, account_prefix="acct_secretive") as live:
        answer = await traced_tenant.post(
            "/events",
            body,
            key="idempotency-secretive",
            headers={"traceparent": f"00-{trace_id}-{parent_id}-01"},
        )
        assert answer.status_code == 201
        await live.until(lambda seen: "balance" in seen.kinds, "the balance is shown")
    streamed = await traced.collector.span("stream", trace_id)

    async def whole() -> bool:
        spans = {span.span_id: span for span in traced.collector.of(trace_id)}
        return ancestors(streamed, spans)[-1].parent_id == parent_id

    await eventually(whole, "the spans of every service")
    spans = {span.span_id: span for span in traced.collector.of(trace_id)}

    way = [(span.service, span.name) for span in ancestors(streamed, spans)]
    assert way == [
        ("freehold-query", "stream"),
        ("freehold-projector", "send freehold.ledger"),
        ("freehold-projector", "project"),
        ("freehold-ingest", "send freehold.ledger"),
        ("freehold-ingest", "append"),
        ("freehold-ingest", "POST /v1/events"),
    ]
    request = ancestors(streamed, spans)[-1]
    assert request.parent_id == parent_id
    assert request.attributes["http.response.status_code"] == 201
    assert request.attributes["freehold.request.id"] == answer.headers["x-request-id"]
    assert {span.attributes["freehold.tenant.id"] for span in ancestors(streamed, spans)} == {
        traced_tenant.tenant_id
    }
    statements = {
        span.attributes["db.statement"]: spans[span.parent_id].name
        for span in spans.values()
        if "db.statement" in span.attributes
    }
    assert {"append", "project", "stream"} <= set(statements.values())
    told = json.dumps([span.attributes for span in traced.collector.spans])
    assert "secretive" not in told
    assert "987654" not in told
    assert traced_tenant.api_key not in told


@pytest.mark.local
async def test_requests_that_share_an_append_are_linked_to_it(
    traced: Traced, traced_tenant: Tenant
) -> None:
    ids = [new_ids() for _ in range(30)]
    async with asyncio.TaskGroup() as group:
        for trace_id, parent_id in ids:
            headers = {"traceparent": f"00-{trace_id}-{parent_id}-01"}
            group.create_task(traced_tenant.post("/events", event_body(), headers=headers))
    appends = {await traced.collector.span("append", trace_id) for trace_id, _ in ids}
    assert len(appends) < len(ids)
    assert sum(span.attributes["freehold.batch.size"] for span in appends) >= len(ids)
    for append in appends:
        await traced.collector.span("send freehold.ledger", append.trace_id)


@pytest.mark.local
async def test_a_caller_decides_what_is_sampled(traced: Traced, traced_tenant: Tenant) -> None:
    left_out, parent_id = new_ids()
    sampled, _ = new_ids()
    for trace_id, flags in ((left_out, "00"), (sampled, "01")):
        headers = {"traceparent": f"00-{trace_id}-{parent_id}-{flags}"}
        assert (await traced_tenant.post("/events", event_body(), headers=headers)).is_success
        await traced_tenant.caught_up()
    await traced.collector.span("project", sampled)
    assert not traced.collector.of(left_out)


@pytest.mark.local
async def test_a_message_continues_its_trace_whatever_else_its_headers_hold(
    traced: Traced, traced_tenant: Tenant
) -> None:
    trace_id, parent_id = new_ids()
    async with upstream_of(traced.stack.env()["FREEHOLD_AMQP_URL"]) as upstream:
        sent = f"00-{trace_id}-{parent_id}-01"
        for number, traceparent in enumerate((7, True, "00-0-0-01", sent)):
            await upstream.publish(
                traced_tenant.api_key,
                event_body(external_id=f"message-{number}"),
                message_id=f"message-{number}",
                headers={"traceparent": traceparent},
            )
    await traced.collector.span("append", trace_id)
    processed = await traced.collector.span("process freehold.inbound", trace_id)
    assert processed.parent_id == parent_id

    async def all_there() -> bool:
        return len([e async for e in traced_tenant.client.list_events()]) >= 4

    await eventually(all_there, "every message is appended")


@pytest.mark.local
async def test_a_traceparent_that_is_none_begins_a_trace_anew(
    traced: Traced, traced_tenant: Tenant
) -> None:
    answer = await traced_tenant.get("/lag", headers={"traceparent": "00-zz-01", "tracestate": "="})
    assert answer.is_success

    async def begun() -> Spanned | None:
        return next(
            (
                span
                for span in traced.collector.spans
                if span.attributes.get("freehold.request.id") == answer.headers["x-request-id"]
            ),
            None,
        )

    span = await eventually(begun, "the request's span")
    assert span.name == "GET /v1/lag"
    assert not span.parent_id


@pytest.mark.local
async def test_statements_with_passwords_are_left_out(
    traced: Traced, traced_tenant: Tenant
) -> None:
    trace_id, parent_id = new_ids()
    answer = await traced.freehold.ask(
        "POST",
        f"{traced.freehold.addresses.tenant_manager}/v1/tenants/{traced_tenant.tenant_id}"
        "/credentials/rotate",
        bearer=traced.freehold.addresses.operator_token,
        headers={"traceparent": f"00-{trace_id}-{parent_id}-01"},
    )
    assert answer.is_success, answer.text
    name = "POST /v1/tenants/{tenant_id}/credentials/rotate"
    await traced.collector.span(name, trace_id)
    spans = traced.collector.of(trace_id)
    assert any("db.statement" in span.attributes for span in spans)
    assert any(span.name == "ALTER" and "db.statement" not in span.attributes for span in spans)
    assert "SCRAM" not in json.dumps([span.attributes for span in spans])


@pytest.mark.local
async def test_logs_name_the_trace(traced: Traced, traced_tenant: Tenant) -> None:
    trace_id, parent_id = new_ids()
    headers = {"traceparent": f"00-{trace_id}-{parent_id}-01"}
    assert (await traced_tenant.post("/events", event_body(), headers=headers)).is_success
    request = await traced.collector.span("POST /v1/events", trace_id)
    lines = [
        json.loads(line)
        for line in (traced.stack.state / "logs" / "ingest.log").read_text().splitlines()
        if trace_id in line
    ]
    assert [
        (line["trace_id"], line["span_id"]) for line in lines if line["event"] == "request"
    ] == [(trace_id, request.span_id)]


@pytest.mark.local
async def test_histograms_name_a_trace_where_openmetrics_is_accepted(
    traced: Traced, traced_tenant: Tenant
) -> None:
    trace_id, parent_id = new_ids()
    headers = {"traceparent": f"00-{trace_id}-{parent_id}-01"}
    assert (await traced_tenant.post("/events", event_body(), headers=headers)).is_success
    url = f"{traced.freehold.addresses.ingest}/metrics"
    plain = await traced.freehold.ask("GET", url)
    assert plain.headers["content-type"].startswith("text/plain")
    assert "trace_id" not in plain.text
    answer = await traced.freehold.ask("GET", url, headers=_OPENMETRICS)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    named = {
        family.name
        for family in text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar and sample.exemplar.labels["trace_id"] == trace_id
    }
    assert named == {"freehold_http_request_seconds", "freehold_ledger_call_seconds"}


@pytest.mark.local
async def test_a_collector_that_hangs_delays_nothing(traced: Traced, traced_tenant: Tenant) -> None:
    traced.collector.answers.clear()
    try:
        for _ in range(20):
            assert (await traced_tenant.post("/events", event_body())).status_code == 201
        begun = time.monotonic()
        await asyncio.to_thread(traced.stack.stop, "ingest")
        # It gives the collector 2 s, which answers after 10 s at the earliest.
        assert time.monotonic() - begun < 9
    finally:
        traced.collector.answers.set()
        await asyncio.to_thread(traced.stack.start, "ingest")
        await asyncio.to_thread(traced.stack.wait_until_ready, "ingest")
    assert (await traced_tenant.post("/events", event_body())).status_code == 201


async def test_messages_name_no_trace_while_traces_are_off(tenant: Tenant, broker_url: str) -> None:
    seen: list[AbstractIncomingMessage] = []
    async with await aio_pika.connect(broker_url) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(LEDGER_EXCHANGE, f"#.{tenant.tenant_id}.#")
        await queue.bind(LEDGER_EXCHANGE, f"#.{tenant.tenant_id}")

        async def take(message: AbstractIncomingMessage) -> None:
            seen.append(message)
            await message.ack()

        await queue.consume(take)
        headers = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        assert (await tenant.post("/events", event_body(), headers=headers)).is_success

        async def rung() -> bool:
            return bool(seen)

        await eventually(rung, "a doorbell", within_s=PATIENCE_S)
    assert not any(message.headers for message in seen)


@pytest.mark.parametrize(
    ("variables", "loaded"),
    [
        ({}, False),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:1"}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, True),
    ],
)
def test_the_sdk_is_loaded_only_where_an_exporter_is_named(
    variables: dict[str, str], loaded: bool
) -> None:
    program = (
        "import sys, freehold_ingest.__main__, freehold_projector.__main__\n"
        "import freehold_query.__main__, freehold_tenant_manager.__main__\n"
        "from freehold.observability.traces import configure_traces\n"
        "configure_traces('ingest', '1')\n"
        "print(any(name.startswith('opentelemetry.sdk') for name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=variables,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.stdout == f"{loaded}\n"


def new_ids() -> tuple[str, str]:
    """Make a trace's id, and that of a span in it."""
    return secrets.token_hex(16), secrets.token_hex(8)


def ancestors(span: Spanned, spans: dict[str, Spanned]) -> list[Spanned]:
    """The span, its parent, and so on, as far as the services made them."""
    line = [span]
    while line[-1].parent_id in spans:
        line.append(spans[line[-1].parent_id])
    return line
