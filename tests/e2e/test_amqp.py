"""What upstream apps publish to `freehold.inbound` goes the way of a request over HTTP."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import pytest
from prometheus_client.parser import text_string_to_metric_families

from support.clients import Document, Tenant, created, event_body
from support.upstream import Upstream, accepted, kept_problem, refusal
from support.waiting import eventually

REPLAYED = "Idempotency-Replayed"
README = Path(__file__).parents[2] / "services/ingest/README.md"
BODY_BYTES_MAX = 16 * 2**20
PROBLEM_BYTES_MAX = 8192
REPLY_BYTES_MAX = 8 * 2**20


async def test_an_event_arrives_once_however_often_it_is_published(
    upstream: Upstream, tenant: Tenant
) -> None:
    body = event_body(external_id="ch_1", metadata={"plan": "pro"})
    first = await upstream.ask(tenant, body, message_id="k")
    again = await upstream.ask(tenant, body, message_id="k")
    event = accepted(first)
    assert (event["seq"], event["external_id"], event["amount_minor"]) == (1, "ch_1", 2000)
    assert again.status == 201
    assert again.content == first.content
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    assert await tenant.all_of("/events") == [event]


async def test_a_batch_arrives_once_and_whole(upstream: Upstream, tenant: Tenant) -> None:
    body = {"events": [event_body(amount_minor=n) for n in range(1, 51)]}
    first = await upstream.ask(tenant, body, message_id="k")
    again = await upstream.ask(tenant, body, message_id="k")
    batch = accepted(first)
    assert (batch["first_seq"], batch["last_seq"]) == (1, 50)
    assert again.content == first.content
    assert again.headers[REPLAYED] == "true"
    assert await tenant.all_of("/events") == batch["events"]


async def test_an_answer_too_large_for_a_broker_leaves_out_the_events(
    upstream: Upstream, tenant: Tenant
) -> None:
    event = event_body(metadata={f"{n}": "m" * 500 for n in range(50)})
    for count, fits in ((300, True), (350, False)):
        batch = {"events": [event] * count}
        # By HTTP the same request is answered in full, whatever its size.
        whole = created(by_http := await tenant.post("/events/batch", batch, key=f"{count}"))
        answer = await upstream.ask(tenant, batch, message_id=f"{count}")
        assert (len(by_http.content) <= REPLY_BYTES_MAX) is fits
        if not fits:
            del whole["events"]
        assert accepted(answer) == whole


async def test_http_and_amqp_are_two_ways_to_the_same_request(
    upstream: Upstream, tenant: Tenant
) -> None:
    by_http = await tenant.post("/events", event_body(), key="http")
    assert (await upstream.ask(tenant, event_body(), message_id="http")).content == by_http.content
    by_amqp = await upstream.ask(tenant, event_body(), message_id="amqp")
    assert created(await tenant.post("/events", event_body(), key="amqp")) == accepted(by_amqp)
    assert len(await tenant.all_of("/events")) == 2


async def test_an_event_with_a_key_named_events_in_its_metadata_is_an_event(
    upstream: Upstream, tenant: Tenant
) -> None:
    event = accepted(await upstream.ask(tenant, event_body(metadata={"events": "none"})))
    assert event["metadata"] == {"events": "none"}


async def test_many_messages_are_appended_together_and_in_order(
    upstream: Upstream, tenant: Tenant
) -> None:
    before = await appends(tenant)
    async with asyncio.TaskGroup() as group:
        for n in range(1, 501):
            body = event_body(amount_minor=n)
            group.create_task(upstream.publish(tenant.api_key, body, message_id=f"m{n}"))
    await grown_to(tenant, 500)
    amounts = [event["amount_minor"] for event in await tenant.all_of("/events")]
    assert amounts == list(range(1, 501))
    assert await appends(tenant) - before < 250


async def test_messages_of_many_tenants_find_their_ledgers(
    upstream: Upstream, tenant: Tenant, other_tenant: Tenant
) -> None:
    for n in range(1, 21):
        for each in (tenant, other_tenant):
            await upstream.publish(
                each.api_key, event_body(account_id=each.tenant_id), message_id=f"{n}"
            )
    for each in (tenant, other_tenant):
        await grown_to(each, 20)
        accounts = {event["account_id"] for event in await each.all_of("/events")}
        assert accounts == {each.tenant_id}


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no JSON": (b"{", {}, "malformed-json"),
    "empty": (b"", {}, "malformed-json"),
    "a list": (b"[]", {}, "validation-failed"),
    "no events": ({"events": []}, {}, "validation-failed"),
    "a float": (event_body(amount_minor=2000.0), {}, "validation-failed"),
    "a member too many": (event_body(tenant_id="other"), {}, "validation-failed"),
    "an id that cannot be a key": (
        event_body(),
        {"message_id": "caf\u00e9"},
        "idempotency-key-invalid",
    ),
    "no id": (event_body(), {"message_id": None}, "idempotency-key-missing"),
    "a blank id": (event_body(), {"message_id": " "}, "idempotency-key-missing"),
}


@pytest.mark.parametrize(("body", "properties", "slug"), REFUSED.values(), ids=REFUSED)
async def test_what_http_refuses_is_refused_with_the_same_problem_and_kept(
    upstream: Upstream, refused_tenant: Tenant, body: Any, properties: dict[str, Any], slug: str
) -> None:
    mark = uuid4().hex
    answer = await upstream.ask_as(
        refused_tenant.api_key,
        body,
        **{"message_id": uuid4().hex, "correlation_id": mark, **properties},
        headers={"source": "billing"},
        type="charge",
    )
    document = refusal(answer, slug)
    kept = await upstream.refused(mark)
    assert kept_problem(kept) == document
    assert kept.body == (body if isinstance(body, bytes) else json.dumps(body).encode())
    assert (kept.headers["source"], kept.type) == ("billing", "charge")
    if "message_id" not in properties:
        assert kept.message_id


async def test_a_refused_message_is_kept_without_its_credential(
    upstream: Upstream, tenant: Tenant
) -> None:
    await upstream.publish(tenant.api_key, b"{", message_id="k", headers={"Authorization": "too"})
    kept = await upstream.refused("k")
    assert "authorization" not in {name.lower() for name in kept.headers}
    assert tenant.api_key not in repr(kept.headers)
    # Nothing was remembered: the same id is good for a better body.
    assert accepted(await upstream.ask(tenant, event_body(), message_id="k"))["seq"] == 1


async def test_a_credential_that_is_not_good_enough_is_refused(
    upstream: Upstream, tenant: Tenant
) -> None:
    reader = await tenant.limited_to("read")
    wrong = tenant.api_key[:-1] + ("0" if tenant.api_key[-1] != "0" else "1")
    for api_key, slug in (
        (None, "unauthorized"),
        ("nonsense", "unauthorized"),
        (wrong, "unauthorized"),
        (reader.api_key, "missing-scope"),
    ):
        mark = uuid4().hex
        answer = await upstream.ask_as(api_key, event_body(), message_id=mark)
        refusal(answer, slug)
        if slug == "unauthorized":
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert kept_problem(await upstream.refused(mark))["type"] == f"/problems/{slug}"
    assert await tenant.all_of("/events") == []


async def test_conflicts_are_answered_and_kept_too(upstream: Upstream, tenant: Tenant) -> None:
    first = accepted(await upstream.ask(tenant, event_body(external_id="ch_1"), message_id="k"))
    other = await upstream.ask(tenant, event_body(amount_minor=1), message_id="k")
    refusal(other, "idempotency-key-reused")
    double = await upstream.ask(tenant, event_body(external_id="ch_1"), message_id="double")
    document = refusal(double, "duplicate-external-id")
    assert document["existing_event_id"] == first["event_id"]
    assert kept_problem(await upstream.refused("double")) == document
    assert kept_problem(await upstream.refused("k"))["status"] == 422


async def test_headers_of_any_type_break_nothing(upstream: Upstream, tenant: Tenant) -> None:
    odd: list[dict[str, Any]] = [
        {"authorization": 7},
        {"authorization": {"Bearer": tenant.api_key}},
        {"authorization": None},
        {"authorization": bytearray(b"\xff\xfe")},
        {"authorization": f"Bearer {tenant.api_key}", "Authorization": "Bearer another"},
        {"authorization": f"Basic {tenant.api_key}"},
    ]
    for headers in odd:
        answer = await upstream.ask_as(None, event_body(), message_id=uuid4().hex, headers=headers)
        refusal(answer, "unauthorized")
    fine: dict[str, Any] = {
        "binary": bytearray(b"\xff\x00"),
        "table": {"nested": [1, 2.5, None, {"deep": True}]},
        "x-freehold-faults": "many",
        "x-delivery-count": -1,
        "x-death": "forged",
        "CC": ["freehold.projector"],
    }
    as_bytes = {"authorization": bytearray(f"Bearer {tenant.api_key}".encode()), **fine}
    answer = await upstream.ask_as(None, event_body(), message_id="k", headers=as_bytes)
    assert accepted(answer)["seq"] == 1
    refusal(await upstream.ask(tenant, b"{", message_id="odd", headers=fine), "malformed-json")
    kept = await upstream.refused("odd")
    assert kept.headers["binary"] == fine["binary"]
    assert kept.headers["table"] == fine["table"]
    assert kept.headers.keys().isdisjoint({"CC", "x-death", "x-freehold-faults"})


async def test_a_problem_too_large_for_a_header_is_kept_cut_short(
    upstream: Upstream, refused_tenant: Tenant
) -> None:
    many = {"events": [event_body(amount_minor=0, **{f"unknown_{n:0200}": 1}) for n in range(100)]}
    long = event_body(**{"u" * 200_000: 1})
    large = event_body(amount_minor=0)
    for body, headers in ((many, {}), (long, {}), (large, {"filler": "f" * 120_000})):
        mark = uuid4().hex
        answer = await upstream.ask(refused_tenant, body, message_id=mark, headers=headers)
        refusal(answer, "validation-failed")
        kept = await upstream.refused(mark)
        # A few of the errors are kept where not all of them can be.
        assert kept_problem(kept)["type"] == "/problems/validation-failed"
        assert len(str(kept.headers["problem"])) <= PROBLEM_BYTES_MAX


async def test_a_body_over_the_limit_is_refused(upstream: Upstream, refused_tenant: Tenant) -> None:
    body = b" " * (BODY_BYTES_MAX + 1)
    try:
        answer = await upstream.ask(refused_tenant, body, message_id="large")
    except aio_pika.exceptions.AMQPError:
        pytest.skip("the broker itself takes no message of this size")
    refusal(answer, "body-too-large")
    assert kept_problem(await upstream.refused("large"))["status"] == 413


async def test_replies_go_to_whoever_can_take_them_and_nobody_else(
    upstream: Upstream, tenant: Tenant
) -> None:
    nowhere = f"nowhere-{uuid4().hex}"
    for n, reply_to in enumerate((nowhere, "amq.rabbitmq.reply-to.nobody", "freehold.inbound")):
        await upstream.publish(tenant.api_key, event_body(), message_id=f"{n}", reply_to=reply_to)
    await grown_to(tenant, 3)
    # RabbitMQ's direct reply-to: no queue at all.
    direct: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    pseudo = await upstream.channel.get_queue("amq.rabbitmq.reply-to", ensure=False)

    async def hear(reply: aio_pika.abc.AbstractIncomingMessage) -> None:
        direct.set_result(reply.body)

    tag = await pseudo.consume(hear, no_ack=True, timeout=10)
    await upstream.publish(
        tenant.api_key, event_body(), message_id="direct", reply_to="amq.rabbitmq.reply-to"
    )
    async with asyncio.timeout(60):
        assert json.loads(await direct)["seq"] == 4
    await pseudo.cancel(tag)
    # What was answered into the queue for messages would be a message there, and be refused.
    accepted(await upstream.ask(tenant, event_body()))
    assert len(await tenant.all_of("/events")) == 5


async def test_the_publisher_in_the_readme_publishes(tenant: Tenant, broker_url: str) -> None:
    for _ in range(2):
        await run_program_of("AMQP in", broker_url, tenant)
    await grown_to(tenant, 1)
    accepted_event = (await tenant.all_of("/events"))[0]
    assert (accepted_event["account_id"], accepted_event["amount_minor"]) == ("cus_42", 2000)
    assert (await tenant.caught_up())["head_seq"] == 1


async def test_the_program_in_the_readme_takes_out_what_was_refused(
    upstream: Upstream, tenant: Tenant, broker_url: str
) -> None:
    await upstream.purge_refused()
    answers = {
        key: await upstream.ask(tenant, body, message_id=key)
        for key, body in {uuid4().hex: b"\xff", uuid4().hex: event_body(amount_minor=0)}.items()
    }
    shown = await run_program_of("What bounds the queues", broker_url, tenant)
    lines = {line["message_id"]: line for line in map(json.loads, shown.splitlines())}
    assert lines.keys() == answers.keys()
    for key, answer in answers.items():
        assert json.loads(lines[key]["problem"]) == answer.document
    assert json.loads(lines[key]["body"])["amount_minor"] == 0

    async def taken() -> bool:
        return await upstream.refused_count() == 0

    await eventually(taken, "none of them is left")


async def run_program_of(heading: str, broker_url: str, tenant: Tenant) -> str:
    """Run the program in a section of the README, and give what it prints."""
    section = README.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (program,) = re.findall(r"```python\n(.+?)```", section, re.DOTALL)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-c",
        program,
        env={
            "PATH": os.environ["PATH"],
            "FREEHOLD_AMQP_URL": broker_url,
            "FREEHOLD_API_KEY": tenant.api_key,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        printed, complained = await process.communicate()
    assert process.returncode == 0, complained.decode()
    return printed.decode()


async def grown_to(tenant: Tenant, events: int) -> None:
    """Wait until a ledger has so many events, and see that it has no more."""

    async def grown() -> Document | None:
        lag = await tenant.lag()
        return lag if lag["head_seq"] >= events else None

    assert (await eventually(grown, f"{events} events arrive"))["head_seq"] == events


async def appends(tenant: Tenant) -> float:
    """How many appends ingest has made."""
    answer = await tenant.freehold.ask("GET", f"{tenant.freehold.addresses.ingest}/metrics")
    return sum(
        sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == "freehold_ingest_append_requests_count"
    )
