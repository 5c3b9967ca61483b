"""Requests for single events, byte for byte."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from integration.http.conversations import Conversation
from support.answers import created, problem
from support.clients import Freehold, Tenant, event_body
from support.documents import Document
from support.waiting import eventually

TWICE = (
    b'{"account_id":"a","event_type":"CHARGE","amount_minor":1,"amount_minor":5,"currency":"USD"}'
)


@asynccontextmanager
async def connected(freehold: Freehold) -> AsyncIterator[Conversation]:
    at = urlsplit(freehold.addresses.ingest)
    conversation = Conversation(*await asyncio.open_connection(at.hostname, at.port))
    yield conversation
    await conversation.close()


def request(tenant: Tenant, body: bytes, *lines: str) -> bytes:
    head = [
        "POST /v1/events HTTP/1.1",
        "host: test",
        f"authorization: Bearer {tenant.api_key}",
        f"content-length: {len(body)}",
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


async def post(freehold: Freehold, tenant: Tenant, body: bytes, *lines: str) -> httpx.Response:
    async with connected(freehold) as conversation:
        conversation.send(request(tenant, body, *lines))
        return await conversation.answer()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"external_id": None, "metadata": None, "transaction_time": None},
        {"amount_minor": -(2**63), "currency": "JPY", "transaction_time": "1900-01-01T00:00:00Z"},
        {"amount_minor": 2**63 - 1, "transaction_time": "2026-03-01T12:00:00.1234567+05:30"},
        {"external_id": 'é"\\/\u2028\U0001f600', "metadata": {}},
        {"metadata": {"b": '"\\/', "aa": "\u2028é", "é": "\U0001f600", "a": "", "B": "\xa0"}},
        {"account_id": "A.b_c:d@e-f", "event_type": "A_1"},
    ],
)
async def test_an_event_is_replayed_in_its_first_bytes(
    freehold: Freehold, tenant: Tenant, changes: Document
) -> None:
    body = json.dumps(event_body(**changes)).encode()
    first = await post(freehold, tenant, body, "idempotency-key: k")
    again = await post(freehold, tenant, body, "idempotency-key: k")
    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert set(again.headers) == set(first.headers) | {"idempotency-replayed"}


@pytest.mark.parametrize(
    ("changes", "lines", "slug"),
    [
        ({"amount_minor": 0}, ["idempotency-key: k"], "validation-failed"),
        (b"{", ["idempotency-key: k"], "malformed-json"),
        (b"", ["idempotency-key: k"], "malformed-json"),
        (TWICE, ["idempotency-key: k"], "validation-failed"),
        ({}, ["idempotency-key: k", "content-type: text/plain"], "unsupported-media-type"),
        ({}, ["idempotency-key: k", "content-encoding: br"], "unsupported-media-type"),
        ({}, ["idempotency-key: k", "content-encoding: gzip"], "malformed-coding"),
        ({}, [], "idempotency-key-missing"),
        ({}, ["idempotency-key: \xe9"], "idempotency-key-invalid"),
        ({}, ["idempotency-key: k", "idempotency-key: k"], "idempotency-key-invalid"),
        ({}, ["idempotency-key: used"], "idempotency-key-reused"),
        ({"external_id": "used"}, ["idempotency-key: k"], "duplicate-external-id"),
        ({}, ["idempotency-key: k", "authorization: Bearer other"], "unauthorized"),
    ],
)
async def test_a_refused_event_has_its_problem(
    freehold: Freehold, tenant: Tenant, changes: Any, lines: list[str], slug: str
) -> None:
    await tenant.append(key="used", external_id="used")
    body = changes if isinstance(changes, bytes) else json.dumps(event_body(**changes)).encode()
    problem(await post(freehold, tenant, body, *lines), slug)


async def test_a_tenant_over_its_limit_is_refused_before_anything_else_is_looked_at(
    freehold: Freehold, tenant: Tenant
) -> None:
    await freehold.manage("PUT", f"/tenants/{tenant.tenant_id}/limits", {"events_per_s": 1})
    body = json.dumps(event_body()).encode()

    async def refused() -> bool:
        # The first one that is counted has to be made up for in two minutes.
        await tenant.post("/events/batch", {"events": [event_body() for _ in range(120)]})
        return (await post(freehold, tenant, body, "idempotency-key: k")).status_code == 429

    await eventually(refused, "the limit holds")
    for lines in (["idempotency-key: k"], []):
        answer = await post(freehold, tenant, body, *lines)
        problem(answer, "too-many-requests")
        assert int(answer.headers["retry-after"]) > 1


async def test_a_key_works_until_it_ends_and_no_other_secret_does(
    freehold: Freehold, tenant: Tenant
) -> None:
    body = json.dumps(event_body()).encode()

    async def status(bearer: Tenant) -> int:
        return (await post(freehold, bearer, body, "idempotency-key: k")).status_code

    expires_at = datetime.now(UTC) + timedelta(seconds=8)
    made = [
        created(await freehold.manage("POST", f"/tenants/{tenant.tenant_id}/api-keys", wanted))
        for wanted in (
            {"scopes": ["ingest"]},
            {"scopes": ["ingest"], "expires_at": expires_at.isoformat()},
        )
    ]
    lasting, expiring = (tenant.bearing(key["api_key"]) for key in made)
    for bearer in (lasting, expiring):
        assert [await status(bearer) for _ in range(2)] == [201, 201]
        last = bearer.api_key[-1]
        wrong = tenant.bearing(bearer.api_key[:-1] + ("0" if last != "0" else "1"))
        assert await status(wrong) == 401
        assert await status(bearer) == 201
    await freehold.manage("DELETE", f"/tenants/{tenant.tenant_id}/api-keys/{made[0]['key_id']}")
    for bearer in (lasting, expiring):

        async def ended(bearer: Tenant = bearer) -> bool:
            return await status(bearer) == 401

        await eventually(ended, "the key is good no more")
    assert (await post(freehold, tenant, body, "idempotency-key: k")).status_code == 201


async def test_a_client_that_disconnects_during_an_append_finds_it_done(
    freehold: Freehold, tenant: Tenant
) -> None:
    await tenant.append()
    body = json.dumps(event_body(external_id="mine")).encode()
    async with connected(freehold) as conversation:
        whole = request(tenant, body, "idempotency-key: k", "expect: 100-continue")
        conversation.send(whole.removesuffix(body))
        # A client that is gone before ingest reads the body is served nothing.
        await conversation.hear(b"HTTP/1.1 100 Continue\r\n\r\n")
        conversation.send(body)

    # Sent again before it is there, it would be another request's.
    async def found() -> bool:
        return len(await tenant.all_events()) == 2

    await eventually(found, "the event is there")
    answer = await post(freehold, tenant, body, "idempotency-key: other")
    assert answer.status_code == 409


async def test_many_at_once_are_each_answered_their_own(freehold: Freehold, tenant: Tenant) -> None:
    async def one(number: int) -> None:
        async with connected(freehold) as conversation:
            for turn in range(5):
                name = f"{number}-{turn}"
                body = json.dumps(event_body(external_id=name)).encode()
                conversation.send(request(tenant, body, f"idempotency-key: {name}"))
                assert created(await conversation.answer())["external_id"] == name

    await asyncio.gather(*(one(number) for number in range(30)))
    events = await tenant.all_events()
    assert [event.seq for event in events] == list(range(1, 151))
