"""Each tenant's share of ingest: set by the operator, and of no concern to anybody else."""

import asyncio
from typing import Any
from urllib.parse import urlsplit

import httpx

from support.answers import created, found, problem
from support.clients import Tenant, event_body
from support.waiting import PATIENCE_S, eventually


async def limited(tenant: Tenant, **limits: Any) -> None:
    answer = await tenant.freehold.manage("PUT", f"/tenants/{tenant.tenant_id}/limits", limits)
    assert found(answer)["limits"] == {"events_per_s": None, "requests_max": None, **limits}


async def burst(tenant: Tenant, requests: int) -> list[httpx.Response]:
    return await asyncio.gather(*(tenant.post("/events", event_body()) for _ in range(requests)))


async def test_a_tenant_over_their_rate_gets_a_retry_time(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    await tenant.append()
    await limited(tenant, events_per_s=10)

    async def refused() -> httpx.Response | None:
        answers = await burst(tenant, 30)
        return next((answer for answer in answers if answer.status_code == 429), None)

    answer = await eventually(refused, "the limit holds")
    assert "10 events a second" in problem(answer, "too-many-requests")["detail"]
    assert answer.headers["retry-after"] == "1"
    # Others are none the wiser.
    assert {answer.status_code for answer in await burst(other_tenant, 30)} == {201}

    await asyncio.sleep(int(answer.headers["retry-after"]))
    await tenant.append()
    # A batch is as many events as it has, and the next request pays for it.
    await tenant.append_batch([event_body() for _ in range(60)])
    answer = await tenant.post("/events/batch", {"events": [event_body()]})
    problem(answer, "too-many-requests")
    assert int(answer.headers["retry-after"]) > 1

    await limited(tenant, events_per_s=None)

    async def let_in() -> bool:
        return (await tenant.post("/events", event_body())).status_code == 201

    await eventually(let_in, "the limit is lifted")


async def test_a_tenant_over_their_rate_is_refused_before_the_body_arrives(tenant: Tenant) -> None:
    await limited(tenant, events_per_s=1)

    async def refused() -> bool:
        # The first one that is counted has to be made up for in a minute.
        batch = {"events": [event_body() for _ in range(60)]}
        return (await tenant.post("/events/batch", batch)).status_code == 429

    await eventually(refused, "the limit holds")
    address = urlsplit(tenant.freehold.addresses.ingest)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        f"POST /v1/events/batch HTTP/1.1\r\nHost: {address.netloc}\r\nIdempotency-Key: unread\r\n"
        f"Authorization: Bearer {tenant.api_key}\r\nContent-Type: application/json\r\n"
        "Content-Length: 1000000\r\n\r\n".encode()
    )
    async with asyncio.timeout(PATIENCE_S):
        status = await reader.readuntil(b"\r\n")
    writer.transport.abort()
    assert status.startswith(b"HTTP/1.1 429 ")


async def test_a_refused_request_leaves_nothing_and_is_good_later(tenant: Tenant) -> None:
    await limited(tenant, events_per_s=1)

    async def refused() -> bool:
        return (await tenant.post("/events", event_body(), key="k")).status_code == 429

    async def let_in() -> httpx.Response | None:
        answer = await tenant.post("/events", event_body(), key="k")
        return answer if answer.status_code == 201 else None

    first = created(await tenant.post("/events", event_body(), key="k"))
    await eventually(refused, "the limit holds")
    again = await eventually(let_in, "the share has grown again")
    assert again.json() == first
    assert again.headers["idempotency-replayed"] == "true"
    assert (await tenant.caught_up()).head_seq == 1


async def test_concurrent_requests_of_a_tenant_are_limited(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    await tenant.append()
    await limited(tenant, requests_max=1)

    async def refused() -> httpx.Response | None:
        # Large ones, so that one is still being worked on when the next comes.
        batch = {"events": [event_body() for _ in range(2_000)]}
        answers = await asyncio.gather(
            *(
                tenant.post("/events/batch", batch, headers={"Prefer": "return=minimal"})
                for _ in range(4)
            )
        )
        assert any(answer.status_code == 201 for answer in answers)
        return next((answer for answer in answers if answer.status_code == 429), None)

    answer = await eventually(refused, "the limit holds")
    assert "no more than 1 of" in problem(answer, "too-many-requests")["detail"]
    assert answer.headers["retry-after"] == "1"
    await tenant.append()
    assert {answer.status_code for answer in await burst(other_tenant, 30)} == {201}
