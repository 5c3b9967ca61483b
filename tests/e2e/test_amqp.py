"""What upstream apps publish to `freehold.inbound` goes the way of a request over HTTP."""

import asyncio
import gzip
import json
import os
import re
import struct
import sys
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aio_pika
import pytest
import zstandard
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed
from prometheus_client.parser import text_string_to_metric_families

from freehold.messaging.topology import replies_queue
from freehold_client.generated.models import Lag
from support.answers import created
from support.clients import Tenant, event_body, event_of
from support.guides import guide
from support.upstream import Upstream, accepted, kept_problem, refusal
from support.waiting import eventually

REPLAYED = "Idempotency-Replayed"
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
    assert await tenant.all_events() == [event_of(event)]


async def test_a_batch_arrives_once_and_whole(upstream: Upstream, tenant: Tenant) -> None:
    body = {"events": [event_body(amount_minor=n) for n in range(1, 51)]}
    first = await upstream.ask(tenant, body, message_id="k")
    again = await upstream.ask(tenant, body, message_id="k")
    batch = accepted(first)
    assert (batch["first_seq"], batch["last_seq"]) == (1, 50)
    assert again.content == first.content
    assert again.headers[REPLAYED] == "true"
    assert await tenant.all_events() == [event_of(event) for event in batch["events"]]


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
    assert len(await tenant.all_events()) == 2


async def test_a_packed_event_is_the_same_event(upstream: Upstream, tenant: Tenant) -> None:
    body = json.dumps(event_body()).encode()
    plain = await upstream.ask(tenant, body, message_id="k", content_type="application/json")
    for packed, coding in (
        (gzip.compress(body), "gzip"),
        (zstandard.compress(body), "zstd"),
        # Some name the charset there.
        (body, "utf-8"),
    ):
        again = await upstream.ask(tenant, packed, message_id="k", content_encoding=coding)
        assert again.content == plain.content
        assert again.headers[REPLAYED] == "true"


async def test_a_batch_is_recognized_by_its_member_events(
    upstream: Upstream, tenant: Tenant
) -> None:
    event = accepted(await upstream.ask(tenant, event_body(metadata={"events": "none"})))
    assert event["metadata"] == {"events": "none"}
    escaped = json.dumps({"events": [event_body()]}).replace("events", "event\\u0073")
    assert accepted(await upstream.ask(tenant, escaped.encode()))["first_seq"] == 2


async def test_many_messages_are_appended_together_and_in_order(
    upstream: Upstream, tenant: Tenant
) -> None:
    before = await appends(tenant)
    async with asyncio.TaskGroup() as group:
        for n in range(1, 501):
            body = event_body(amount_minor=n)
            group.create_task(upstream.publish(tenant.api_key, body, message_id=f"m{n}"))
    await grown_to(tenant, 500)
    amounts = [event.amount_minor for event in await tenant.all_events()]
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
        accounts = {event.account_id for event in await each.all_events()}
        assert accounts == {each.tenant_id}


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no JSON": (b"{", {}, "malformed-json"),
    "empty": (b"", {}, "malformed-json"),
    "a list": (b"[]", {}, "validation-failed"),
    "no events": ({"events": []}, {}, "validation-failed"),
    "a float": (event_body(amount_minor=2000.0), {}, "validation-failed"),
    "a member twice": (
        json.dumps(event_body()).replace("{", '{"amount_minor": 1, ', 1).encode(),
        {},
        "validation-failed",
    ),
    "events twice": (b'{"events": [], "events": []}', {}, "validation-failed"),
    "no JSON by its type": (
        event_body(),
        {"content_type": "application/xml"},
        "unsupported-media-type",
    ),
    "an unknown coding": (event_body(), {"content_encoding": "br"}, "unsupported-media-type"),
    "not packed": (event_body(), {"content_encoding": "gzip"}, "malformed-coding"),
    "a bomb": (
        gzip.compress(b" " * (BODY_BYTES_MAX + 1)),
        {"content_encoding": "gzip"},
        "body-too-large",
    ),
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
    assert await tenant.all_events() == []


async def test_conflicts_are_answered_and_kept_too(upstream: Upstream, tenant: Tenant) -> None:
    first = accepted(await upstream.ask(tenant, event_body(external_id="ch_1"), message_id="k"))
    other = await upstream.ask(tenant, event_body(amount_minor=1), message_id="k")
    refusal(other, "idempotency-key-reused")
    double = await upstream.ask(tenant, event_body(external_id="ch_1"), message_id="double")
    document = refusal(double, "duplicate-external-id")
    assert document["existing_event_id"] == first["event_id"]
    assert (document["external_id"], document["differs"]) == ("ch_1", [])
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


NOW = datetime.now(UTC).replace(microsecond=0)
# What no driver writes and a broker takes, and why the message is refused, if it is.
FORGED: dict[str, tuple[bytes, bytes, str | None]] = {
    "bytes that are not UTF-8": (b"TYPE", b"\xff\xfe\xfd\xfc", None),
    "an id that is not UTF-8": (b"THE-ID", b"THE-\xff\xff", "idempotency-key-invalid"),
    "a time beyond all dates": (
        struct.pack(">Q", int(NOW.timestamp())),
        struct.pack(">Q", int(NOW.timestamp()) * 10**6),
        None,
    ),
    "a header whose name is not UTF-8": (b"\x03odd", b"\x03\xff\xff\xff", "unauthorized"),
}


@pytest.mark.parametrize(("written", "forged", "slug"), FORGED.values(), ids=FORGED)
async def test_properties_that_no_driver_can_read_break_nothing(
    upstream: Upstream, tenant: Tenant, written: bytes, forged: bytes, slug: str | None
) -> None:
    mark = uuid4().hex
    answer = await upstream.ask_as(
        tenant.api_key,
        event_body(),
        message_id="THE-ID",
        correlation_id=mark,
        type="TYPE",
        timestamp=NOW,
        headers={"odd": "odd"},
        forged=(written, forged),
    )
    if slug is None:
        assert accepted(answer)["seq"] == 1
    else:
        assert kept_problem(await upstream.refused(mark)) == refusal(answer, slug)


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


async def test_a_problem_larger_than_a_broker_takes_is_answered_cut_short(
    upstream: Upstream, refused_tenant: Tenant
) -> None:
    # Each fault names its place, where a tilde is two characters.
    body = event_body(**{f"{n}" + "~" * 200_000: 1 for n in range(80)})
    answer = await upstream.ask(refused_tenant, body)
    assert len(answer.content) <= REPLY_BYTES_MAX
    assert len(refusal(answer, "validation-failed")["errors"]) > 1


async def test_a_message_that_asks_for_an_answer_into_the_queue_of_another_is_refused(
    upstream: Upstream, tenant: Tenant, broker_url: str
) -> None:
    user = str(urlsplit(broker_url).username)
    theirs = await upstream.channel.declare_queue(f"another-app.{uuid4().hex}", exclusive=True)
    slug = "reply-not-allowed"
    own = replies_queue(user)
    asked: list[dict[str, Any]] = [
        {"reply_to": theirs.name},
        {"reply_to": theirs.name, "user_id": user},
        {"reply_to": f"nowhere-{uuid4().hex}"},
        {"reply_to": "freehold.projector"},
        {"reply_to": "freehold.inbound"},
        {"reply_to": "freehold.inbound.refused", "user_id": user},
        {"reply_to": own},
        {"reply_to": own, "headers": {"x-freehold-user": user}},
        {"reply_to": replies_queue("another"), "user_id": user},
        {"reply_to": f"{own}.more", "user_id": user},
        {"reply_to": "amq.gen", "user_id": user},
    ]
    for properties in asked:
        for body in (event_body(), b"{"):
            message_id = uuid4().hex
            await upstream.publish(tenant.api_key, body, message_id=message_id, **properties)
            kept = await upstream.refused(message_id)
            assert kept_problem(kept)["type"] == f"/problems/{slug}", properties
            assert kept.headers.get("x-freehold-user") == properties.get("user_id")
    assert await theirs.get(fail=False) is None
    # Nothing was appended.
    assert (await tenant.lag()).head_seq == 0


async def test_a_publisher_is_answered_directly_and_in_its_own_queue(
    publisher_url: str, tenant: Tenant
) -> None:
    user = str(urlsplit(publisher_url).username)
    heard: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    async with await aio_pika.connect(publisher_url) as connection:
        channel = await connection.channel()
        # RabbitMQ's direct reply-to: no queue at all.
        direct = await channel.get_queue("amq.rabbitmq.reply-to", ensure=False)
        own = await channel.declare_queue(replies_queue(user), durable=True)
        for queue in (direct, own):
            await queue.consume(heard.put, no_ack=True, timeout=10)
        publisher = Upstream(channel, direct.name)
        asked: list[dict[str, Any]] = [
            {"reply_to": direct.name},
            {"reply_to": direct.name, "user_id": user},
            {"reply_to": own.name, "user_id": user},
        ]
        for number, properties in enumerate(asked, 1):
            for body, status in ((event_body(), 201), (b"{", 400)):
                mark = uuid4().hex
                await publisher.publish(
                    tenant.api_key, body, message_id=mark, correlation_id=mark, **properties
                )
                async with asyncio.timeout(60):
                    answer = await heard.get()
                assert (answer.headers["status"], answer.correlation_id) == (status, mark)
                if status == 201:
                    assert json.loads(answer.body)["seq"] == number
        await own.delete(if_unused=False, if_empty=False)


async def test_an_answer_without_a_queue_keeps_no_message_waiting(
    upstream: Upstream, tenant: Tenant, broker_url: str
) -> None:
    user = str(urlsplit(broker_url).username)
    full: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
    own = await upstream.channel.declare_queue(replies_queue(user), durable=True, arguments=full)
    try:
        for n, reply_to in enumerate([own.name] * 4 + ["amq.gen-gone", "amq.rabbitmq.reply-to.x"]):
            await upstream.publish(
                tenant.api_key, event_body(), message_id=f"{n}", reply_to=reply_to, user_id=user
            )
        await grown_to(tenant, 6)
    finally:
        await own.delete(if_unused=False, if_empty=False)


async def test_an_answer_that_the_broker_refuses_affects_no_other_message(
    upstream: Upstream, tenant: Tenant
) -> None:
    await upstream.purge_refused()
    mark, before = uuid4().hex, await settled(tenant, "refused")
    # RabbitMQ ends a connection that publishes to a direct reply-to that it cannot read.
    poison = "amq.rabbitmq.reply-to.AAAA.AAAA"
    await upstream.publish(tenant.api_key, b"{", message_id=mark, reply_to=poison)
    await upstream.refused(mark)

    async def is_settled() -> bool:
        return await settled(tenant, "refused") > before

    await eventually(is_settled, "the message is acknowledged")
    # What is delivered again comes first, so this one would be answered after it.
    accepted(await upstream.ask(tenant, event_body()))
    assert await upstream.refused_count() == 0


Forbidden = Callable[[AbstractChannel, str], Awaitable[Any]]
FORBIDDEN: dict[str, Forbidden] = {
    "see what others publish": lambda channel, own: on_queue(channel, own, "bind"),
    "take what others publish": lambda channel, _: on_queue(channel, "freehold.inbound", "get"),
    "take what is refused": lambda channel, _: on_queue(channel, "freehold.inbound.refused", "get"),
    "drop what others publish": lambda channel, _: on_queue(channel, "freehold.inbound", "purge"),
    "keep it from arriving": lambda channel, _: on_queue(channel, "freehold.inbound", "unbind"),
    "delete the queue": lambda channel, _: channel.queue_delete("freehold.inbound"),
    "delete the exchange": lambda channel, _: channel.exchange_delete("freehold.inbound"),
    "ring a doorbell": lambda channel, _: publish_to(channel, "freehold.ledger"),
    "write into any queue": lambda channel, _: publish_to(channel, ""),
    "have another's queue": lambda channel, own: channel.declare_queue(f"{own}-2", durable=True),
    "have any other queue": lambda channel, _: channel.declare_queue(exclusive=True),
    "have its answers go on": lambda channel, own: channel.declare_queue(
        own, durable=True, arguments={"x-dead-letter-exchange": ""}
    ),
}


@pytest.mark.parametrize("forbidden", FORBIDDEN.values(), ids=FORBIDDEN)
async def test_a_publisher_may_do_nothing_else(publisher_url: str, forbidden: Forbidden) -> None:
    own = replies_queue(str(urlsplit(publisher_url).username))
    async with await aio_pika.connect(publisher_url) as connection:
        with pytest.raises(ChannelAccessRefused):
            await forbidden(await connection.channel(), own)


async def test_a_publisher_cannot_name_another_user(publisher_url: str) -> None:
    async with await aio_pika.connect(publisher_url) as connection:
        with pytest.raises(ChannelPreconditionFailed):
            await publish_to(await connection.channel(), "freehold.inbound", user_id="freehold")


async def on_queue(channel: AbstractChannel, name: str, what: str) -> None:
    queue = await channel.get_queue(name, ensure=False)
    arguments = ("freehold.inbound", "#") if what in {"bind", "unbind"} else ()
    await getattr(queue, what)(*arguments, timeout=10)


async def publish_to(channel: AbstractChannel, exchange: str, **properties: Any) -> None:
    to = await channel.get_exchange(exchange, ensure=False)
    await to.publish(aio_pika.Message(b"", **properties), "freehold.projector", timeout=10)


async def test_the_publisher_in_the_readme_publishes(tenant: Tenant, publisher_url: str) -> None:
    for _ in range(2):
        await run_program_of("Publishing", {"FREEHOLD_PUBLISHER_URL": publisher_url}, tenant)
    await grown_to(tenant, 1)
    accepted_event = (await tenant.all_events())[0]
    assert (accepted_event.account_id, accepted_event.amount_minor) == ("cus_42", 2000)
    assert (await tenant.caught_up()).head_seq == 1


async def test_the_program_in_the_readme_takes_out_what_was_refused(
    upstream: Upstream, tenant: Tenant, broker_url: str
) -> None:
    await upstream.purge_refused()
    answers = {
        key: await upstream.ask(tenant, body, message_id=key)
        for key, body in {uuid4().hex: b"\xff", uuid4().hex: event_body(amount_minor=0)}.items()
    }
    shown = await run_program_of("Refused messages", {"FREEHOLD_AMQP_URL": broker_url}, tenant)
    lines = {line["message_id"]: line for line in map(json.loads, shown.splitlines())}
    assert lines.keys() == answers.keys()
    for key, answer in answers.items():
        assert json.loads(lines[key]["problem"]) == answer.document
    assert json.loads(lines[key]["body"])["amount_minor"] == 0

    async def taken() -> bool:
        return await upstream.refused_count() == 0

    await eventually(taken, "none of them is left")


async def run_program_of(heading: str, broker: Mapping[str, str], tenant: Tenant) -> str:
    """Run the program in a section of the guide, and give what it prints."""
    section = guide("amqp", {}).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    (program,) = re.findall(r"```python\n(.+?)```", section, re.DOTALL)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        "-c",
        program,
        env={"PATH": os.environ["PATH"], **broker, "FREEHOLD_API_KEY": tenant.api_key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        printed, complained = await process.communicate()
    assert process.returncode == 0, complained.decode()
    return printed.decode()


async def grown_to(tenant: Tenant, events: int) -> None:
    """Wait until a ledger has this number of events, and check that it has no more."""

    async def grown() -> Lag | None:
        lag = await tenant.lag()
        return lag if lag.head_seq >= events else None

    assert (await eventually(grown, f"{events} events arrive")).head_seq == events


async def appends(tenant: Tenant) -> float:
    """How many appends ingest has made."""
    return await counted(tenant, "freehold_ingest_append_requests_count")


async def settled(tenant: Tenant, result: str) -> float:
    """How many messages have come to a result."""
    return await counted(tenant, "freehold_ingest_inbound_messages_total", result=result)


async def counted(tenant: Tenant, name: str, **labels: str) -> float:
    """What ingest has counted of something."""
    answer = await tenant.freehold.ask("GET", f"{tenant.freehold.addresses.ingest}/metrics")
    return sum(
        sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
