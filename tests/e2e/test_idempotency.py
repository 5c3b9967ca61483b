"""Sending a request twice is safe: the same answer comes back, and the ledger grows once."""

import asyncio
import gzip
import json
from typing import Any
from uuid import uuid4

import pytest
import zstandard

from support.answers import created, pointers, problem
from support.clients import Tenant, event_body

REPLAYED = "idempotency-replayed"


async def test_a_repeated_event_is_answered_byte_for_byte(tenant: Tenant) -> None:
    body = event_body(metadata={"b": "2", "a": "1"}, external_id="ch_1")
    first = await tenant.post("/events", body, key="k")
    again = await tenant.post("/events", body, key="k")
    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    assert await seqs(tenant) == [1]


async def test_an_event_is_the_same_however_it_is_packed(tenant: Tenant) -> None:
    body = json.dumps(event_body()).encode()
    first = await tenant.post("/events", body, key="k")
    for coding, packed in (("gzip", gzip.compress(body)), ("zstd", zstandard.compress(body))):
        again = await tenant.post("/events", packed, key="k", headers={"Content-Encoding": coding})
        assert again.content == first.content
        assert again.headers[REPLAYED] == "true"
    assert await seqs(tenant) == [1]


async def test_a_repeated_batch_is_answered_byte_for_byte(tenant: Tenant) -> None:
    body = {"events": [event_body(account_id=f"a{n}", amount_minor=n) for n in range(1, 51)]}
    first = await tenant.post("/events/batch", body, key="k")
    await tenant.append()
    again = await tenant.post("/events/batch", body, key="k")
    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert again.headers[REPLAYED] == "true"
    minimal = await tenant.post(
        "/events/batch", body, key="k", headers={"Prefer": "return=minimal"}
    )
    assert minimal.headers[REPLAYED] == "true"
    assert minimal.json() == {"first_seq": 1, "last_seq": 50}
    assert len(await seqs(tenant)) == 51


async def test_a_repeated_reversal_is_answered_byte_for_byte(tenant: Tenant) -> None:
    event = await tenant.append()
    path = f"/events/{event.event_id}/reversal"
    first = await tenant.post(path, {"reason": "twice"}, key="k")
    again = await tenant.post(path, {"reason": "twice"}, key="k")
    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert again.headers[REPLAYED] == "true"
    assert await seqs(tenant) == [1, 2]


async def test_a_key_used_for_another_event_is_refused(tenant: Tenant) -> None:
    body = event_body()
    first = created(await tenant.post("/events", body, key="k"))
    answer = await tenant.post("/events", {**body, "amount_minor": 2001}, key="k")
    refusal = problem(answer, "idempotency-key-reused")
    assert refusal["errors"] == [{"pointer": "", "detail": refusal["detail"]}]
    # The key is still good for what it was used for.
    assert created(await tenant.post("/events", body, key="k")) == first
    assert await seqs(tenant) == [1]


async def test_the_same_meaning_in_another_spelling_is_the_same_request(tenant: Tenant) -> None:
    body = event_body(transaction_time="2026-03-01T12:00:00Z", metadata={"a": "1", "b": "\u00e9"})
    first = await tenant.post("/events", body, key="k")
    spellings: list[Any] = [
        dict(reversed(body.items())),
        json.dumps(body, indent=8, ensure_ascii=True).encode(),
        json.dumps(body, ensure_ascii=False).encode(),
        {**body, "transaction_time": "2026-03-01T14:00:00.000+02:00"},
        {**body, "metadata": {"b": "\u00e9", "a": "1"}},
        {**body, "external_id": None},
    ]
    for spelling in spellings:
        again = await tenant.post("/events", spelling, key="k")
        assert again.content == first.content
        assert again.headers[REPLAYED] == "true"


@pytest.mark.parametrize("key", [None, ""])
async def test_a_request_without_a_key_is_refused(refused_tenant: Tenant, key: str | None) -> None:
    unknown = f"/events/{uuid4()}/reversal"
    for path, body in (
        ("/events", event_body()),
        ("/events/batch", {"events": [event_body()]}),
        (unknown, None),
    ):
        answer = await refused_tenant.post(path, body, key=key)
        problem(answer, "idempotency-key-missing")


@pytest.mark.parametrize("key", ["k" * 256, "caf\u00e9", "a\tb"])
async def test_a_key_that_cannot_be_used_is_refused(refused_tenant: Tenant, key: str) -> None:
    answer = await refused_tenant.post("/events", event_body(), key=key)
    problem(answer, "idempotency-key-invalid")


@pytest.mark.parametrize("key", ["k", "k" * 255, "a key, with: \"anything\" 'printable' {~}"])
async def test_a_key_may_be_any_printable_text(tenant: Tenant, key: str) -> None:
    first = await tenant.post("/events", event_body(), key=key)
    again = await tenant.post("/events", event_body(), key=key)
    assert again.content == first.content
    assert again.headers[REPLAYED] == "true"


async def test_one_request_sent_many_times_at_once_makes_one_event(tenant: Tenant) -> None:
    answers = await asyncio.gather(
        *(tenant.post("/events", event_body(), key="k") for _ in range(16))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum(REPLAYED not in answer.headers for answer in answers) == 1
    assert await seqs(tenant) == [1]


async def test_of_different_requests_with_one_key_at_once_one_is_accepted(tenant: Tenant) -> None:
    answers = await asyncio.gather(
        *(tenant.post("/events", event_body(amount_minor=n), key="k") for n in range(1, 9))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [422] * 7
    for answer in answers:
        if answer.status_code == 422:
            problem(answer, "idempotency-key-reused")
    assert await seqs(tenant) == [1]


async def test_a_key_is_good_for_one_endpoint_only(tenant: Tenant) -> None:
    event = await tenant.append(key="event")
    reversal = f"/events/{event.event_id}/reversal"
    problem(
        await tenant.post("/events/batch", {"events": [event_body()]}, key="event"),
        "idempotency-key-reused",
    )
    problem(await tenant.post(reversal, key="event"), "idempotency-key-reused")
    await tenant.append_batch([event_body()], key="batch")
    problem(await tenant.post("/events", event_body(), key="batch"), "idempotency-key-reused")
    assert await seqs(tenant) == [1, 2]


async def test_a_key_is_good_for_one_reversal_only(tenant: Tenant) -> None:
    one, other = await tenant.append(), await tenant.append()
    created(await tenant.post(f"/events/{one.event_id}/reversal", key="k"))
    answer = await tenant.post(f"/events/{other.event_id}/reversal", key="k")
    problem(answer, "idempotency-key-reused")
    answer = await tenant.post(f"/events/{one.event_id}/reversal", {"reason": "x"}, key="k")
    problem(answer, "idempotency-key-reused")


async def test_keys_of_different_tenants_are_independent(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    mine = await tenant.post("/events", event_body(amount_minor=1), key="k")
    theirs = await other_tenant.post("/events", event_body(amount_minor=2), key="k")
    assert mine.status_code == theirs.status_code == 201
    assert REPLAYED not in theirs.headers
    assert theirs.json()["amount_minor"] == 2


async def test_a_refused_request_is_not_remembered(tenant: Tenant) -> None:
    assert pointers(await tenant.post("/events", event_body(amount_minor=0), key="k")) == [
        "/amount_minor"
    ]
    problem(await tenant.post("/events", b"{", key="k"), "malformed-json")
    stranger = tenant.bearing("unknown")
    problem(await stranger.post("/events", event_body(), key="k"), "unauthorized")
    first = await tenant.append(external_id="ch_1")
    problem(
        await tenant.post("/events", event_body(external_id="ch_1"), key="k"),
        "duplicate-external-id",
    )
    problem(await tenant.post(f"/events/{uuid4()}/reversal", key="k"), "not-found")
    await tenant.reverse(first.event_id)
    problem(await tenant.post(f"/events/{first.event_id}/reversal", key="k"), "already-reversed")
    answer = await tenant.post("/events", event_body(external_id="ch_2"), key="k")
    assert created(answer)["external_id"] == "ch_2"
    assert REPLAYED not in answer.headers


async def seqs(tenant: Tenant) -> list[int]:
    return [event.seq for event in await tenant.all_events()]
