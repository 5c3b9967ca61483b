"""Appending one event: the document that is answered, and every rule that a request can break."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from support.answers import created, pointers, problem
from support.clients import Freehold, Tenant, event_body
from support.documents import Document

MEMBERS = [
    "event_id",
    "seq",
    "account_id",
    "event_type",
    "amount_minor",
    "currency",
    "transaction_time",
    "recorded_at",
    "external_id",
    "metadata",
    "transaction_id",
    "reverses_event_id",
    "refunds_event_id",
    "hash",
]
TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z")
BODY_BYTES_MAX = 16 * 2**20
LEFT_OUT = object()


async def test_an_event_is_answered_as_the_ledger_holds_it(tenant: Tenant) -> None:
    body = event_body(
        transaction_time="2026-03-01T12:00:00Z", external_id="ch_1", metadata={"plan": "pro"}
    )
    answer = await tenant.post("/events", body)
    event = created(answer)
    assert answer.headers["content-type"] == "application/json"
    assert "idempotency-replayed" not in answer.headers
    assert list(event) == MEMBERS
    assert event["seq"] == 1
    assert UUID(event["event_id"]).version == 7
    assert str(UUID(event["event_id"])) == event["event_id"]
    assert event["transaction_time"] == "2026-03-01T12:00:00.000000Z"
    assert TIME.fullmatch(event["recorded_at"])
    age = datetime.now(UTC) - datetime.fromisoformat(event["recorded_at"])
    assert abs(age) < timedelta(minutes=5)
    assert re.fullmatch("[0-9a-f]{64}", event["hash"])
    for member in ("account_id", "event_type", "amount_minor", "currency", "external_id"):
        assert event[member] == body[member]
    assert event["metadata"] == {"plan": "pro"}
    assert event["transaction_id"] is None
    assert event["reverses_event_id"] is None


async def test_what_may_be_left_out_has_its_default(tenant: Tenant) -> None:
    event = await tenant.append()
    assert event.transaction_time == event.recorded_at
    assert event.external_id is None
    assert event.metadata == {}


async def test_events_are_numbered_without_gaps_and_their_ids_sort_alike(tenant: Tenant) -> None:
    events = [await tenant.append(amount_minor=amount) for amount in (1, -2, 3, -4, 5)]
    assert [event.seq for event in events] == [1, 2, 3, 4, 5]
    ids = [event.event_id for event in events]
    assert ids == sorted(set(ids))
    assert len({event.hash for event in events}) == 5


ACCEPTED: dict[str, Document] = {
    "the largest amount": {"amount_minor": 2**63 - 1},
    "the smallest amount": {"amount_minor": -(2**63)},
    "an account of one character": {"account_id": "7"},
    "an account of 255 characters": {"account_id": "a" * 255},
    "every character an account may have": {"account_id": "Az09._:@-"},
    "a type of 50 characters": {"event_type": "A" * 50},
    "a type with digits": {"event_type": "A_1"},
    "a currency without minor units": {"currency": "JPY"},
    "a currency with thousandths": {"currency": "KWD"},
    "a time long ago": {"transaction_time": "1970-01-01T00:00:00Z"},
    "an external id with spaces and accents": {"external_id": " re\u00e7u n\u00b0 1 "},
    "external id and metadata as null": {"external_id": None, "metadata": None},
    "fifty pairs of metadata": {"metadata": {f"key {n}": "v" for n in range(50)}},
    "a metadata key of 40 characters": {"metadata": {"k" * 40: "v"}},
    "a metadata value of 500 characters": {"metadata": {"k": "v" * 500}},
    "an empty metadata value": {"metadata": {"k": ""}},
    "metadata in any script": {"metadata": {"\u540d": "\U0001f600 \u0645\u0631\u062d\u0628\u0627"}},
    "metadata with quotes and slashes": {"metadata": {'a"b\\c/d': "'; DROP TABLE x; --"}},
}


@pytest.mark.parametrize("changes", ACCEPTED.values(), ids=ACCEPTED)
async def test_allowed_values_are_stored_unchanged(accepting: Tenant, changes: Document) -> None:
    event = created(await accepting.post("/events", event_body(**changes)))
    for member, value in changes.items():
        if member == "transaction_time":
            assert datetime.fromisoformat(event[member]) == datetime.fromisoformat(value)
        else:
            assert event[member] == (value if value is not None or member != "metadata" else {})


@pytest.mark.parametrize(
    ("given", "answered"),
    [
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00.000000Z"),
        ("2026-03-01t12:00:00z", "2026-03-01T12:00:00.000000Z"),
        ("2026-03-01T13:30:00+01:30", "2026-03-01T12:00:00.000000Z"),
        ("2026-02-28T23:00:00-13:00", "2026-03-01T12:00:00.000000Z"),
        ("2026-03-01T12:00:00.5Z", "2026-03-01T12:00:00.500000Z"),
        ("2026-03-01T12:00:00.123456Z", "2026-03-01T12:00:00.123456Z"),
    ],
)
async def test_times_are_answered_in_utc_with_microseconds(
    accepting: Tenant, given: str, answered: str
) -> None:
    answer = await accepting.post("/events", event_body(transaction_time=given))
    assert created(answer)["transaction_time"] == answered


REFUSED: dict[str, tuple[Document, str]] = {
    **{
        f"{member} left out": ({member: LEFT_OUT}, f"/{member}")
        for member in ("account_id", "event_type", "amount_minor", "currency")
    },
    **{
        f"{member} null": ({member: None}, f"/{member}")
        for member in ("account_id", "event_type", "amount_minor", "currency")
    },
    "a field too many": ({"colour": "red"}, "/colour"),
    "a field that only answers have": ({"seq": 1}, "/seq"),
    "a field whose name needs escaping": ({"a/b~c": 1}, "/a~1b~0c"),
    "metadata key of 41 characters": ({"metadata": {"k" * 41: "v"}}, f"/metadata/{'k' * 41}"),
    "metadata key empty": ({"metadata": {"": "v"}}, "/metadata/"),
    "metadata value of 501 characters": ({"metadata": {"k": "v" * 501}}, "/metadata/k"),
}


@pytest.mark.parametrize(("changes", "pointer"), REFUSED.values(), ids=REFUSED)
async def test_an_event_that_breaks_a_rule_is_refused_and_the_place_is_named(
    refused_tenant: Tenant, changes: Document, pointer: str
) -> None:
    body = {
        member: value for member, value in event_body(**changes).items() if value is not LEFT_OUT
    }
    assert pointers(await refused_tenant.post("/events", body)) == [pointer]
    assert (await refused_tenant.lag()).head_seq == 0


async def test_every_broken_rule_is_listed(refused_tenant: Tenant) -> None:
    body = event_body(amount_minor=0, currency="usd", colour="red")
    listed = pointers(await refused_tenant.post("/events", body))
    assert sorted(listed) == ["/amount_minor", "/colour", "/currency"]


@pytest.mark.parametrize("spelling", ["2000.0", "2e3", "2E3", "1e400", "-0", "0.0", '"2000"'])
async def test_an_amount_is_a_whole_number_in_digits(refused_tenant: Tenant, spelling: str) -> None:
    body = json.dumps(event_body()).replace("2000", spelling).encode()
    assert pointers(await refused_tenant.post("/events", body)) == ["/amount_minor"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"{'a': 1}",
        b'{"amount_minor": 1,}',
        b'{"amount_minor": 0x10}',
        b'{"amount_minor": 01}',
        b"\xff\xfe{}",
        b'{"account_id": "\xff"}',
        b'{"account_id": "\\ud800"}',
        b"[" * 100_000,
        b'{"amount_minor": ' + b"9" * 10_000 + b"}{",
    ],
    ids=range(12),
)
async def test_a_body_that_is_not_json_is_refused(refused_tenant: Tenant, body: bytes) -> None:
    problem(await refused_tenant.post("/events", body), "malformed-json")


@pytest.mark.parametrize("body", [b"null", b"[]", b'"event"', b"7", b"true"])
async def test_json_that_is_no_object_is_refused(refused_tenant: Tenant, body: bytes) -> None:
    assert pointers(await refused_tenant.post("/events", body)) == [""]


async def test_a_number_of_ten_thousand_digits_is_refused(refused_tenant: Tenant) -> None:
    body = json.dumps(event_body()).replace("2000", "9" * 10_000).encode()
    answer = await refused_tenant.post("/events", body)
    assert answer.status_code in {400, 422}


async def test_a_body_over_the_limit_is_refused(refused_tenant: Tenant) -> None:
    body = b" " * (BODY_BYTES_MAX + 1)
    problem(await refused_tenant.post("/events", body), "body-too-large")
    # And the connection, or a new one, goes on working.
    await refused_tenant.lag()


async def test_a_chunked_body_over_the_limit_is_refused(
    freehold: Freehold, refused_tenant: Tenant
) -> None:
    async def chunks() -> Any:
        for _ in range(BODY_BYTES_MAX // 2**20 + 1):
            yield b" " * 2**20

    answer = await freehold.send(
        "POST",
        f"{freehold.addresses.ingest}/v1/events",
        content=chunks(),
        headers={"Authorization": f"Bearer {refused_tenant.api_key}", "Idempotency-Key": "big"},
    )
    problem(answer, "body-too-large")


async def test_a_body_just_within_the_limit_is_read(accepting: Tenant) -> None:
    body = json.dumps(event_body()).encode().ljust(BODY_BYTES_MAX)
    created(await accepting.post("/events", body))


async def test_the_credential_is_looked_at_before_anything_else(refused_tenant: Tenant) -> None:
    stranger = refused_tenant.bearing("unknown")
    problem(await stranger.post("/events", b"{", key=None), "unauthorized")
    reader = await refused_tenant.limited_to("read")
    problem(await reader.post("/events", b"{", key=None), "missing-scope")


@pytest.mark.parametrize(
    ("method", "path", "slug"),
    [
        ("GET", "/v1/nothing", "not-found"),
        ("POST", "/", "not-found"),
        ("GET", "/v1/events", "method-not-allowed"),
        ("DELETE", "/v1/events/batch", "method-not-allowed"),
    ],
)
async def test_what_is_not_there_is_answered_as_a_problem_too(
    freehold: Freehold, method: str, path: str, slug: str
) -> None:
    answer = await freehold.ask(method, f"{freehold.addresses.ingest}{path}")
    problem(answer, slug)
    if slug == "method-not-allowed":
        assert "POST" in answer.headers["allow"]


@pytest.fixture(scope="module")
async def accepting(freehold: Freehold) -> Tenant:
    """One ledger for all that is accepted and then not looked at again."""
    return await freehold.new_tenant()
