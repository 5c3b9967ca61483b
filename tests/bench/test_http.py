"""How much of the ledger's speed arrives through HTTP, with everything on this machine."""

import asyncio
import itertools
import json
import time

import httpx
from rich.console import Console
from rich.table import Table

from bench.load import Result, request_bytes, run
from freehold_local.stack import Stack

SECONDS_MAX = 20
_numbers = itertools.count()


def _event() -> dict[str, object]:
    number = next(_numbers)
    return {
        "account_id": f"cus_{number % 5000}",
        "event_type": "CHARGE",
        "amount_minor": 2000,
        "currency": "USD",
        "external_id": f"ch_{number}",
        "metadata": {"plan": "pro"},
    }


def _post(key: str, path: str, body: object) -> bytes:
    headers = {"authorization": f"Bearer {key}", "idempotency-key": f"key-{next(_numbers)}"}
    return request_bytes("POST", path, headers, json.dumps(body).encode())


async def _create_tenant(environment: dict[str, str], tenant_id: str) -> str:
    operator = {"Authorization": f"Bearer {environment['FREEHOLD_OPERATOR_TOKEN']}"}
    body = {"tenant_id": tenant_id, "name": tenant_id, "region": "local", "isolation": "database"}
    async with httpx.AsyncClient(headers=operator, timeout=60) as client:
        answer = await client.post(
            f"{environment['FREEHOLD_TENANT_MANAGER_URL']}/v1/tenants", json=body
        )
    return str(answer.json()["api_key"])


async def _wait_until_projected(environment: dict[str, str], key: str) -> float:
    started = time.perf_counter()
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as client:
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                lag = (await client.get(f"{environment['FREEHOLD_QUERY_URL']}/v1/lag")).json()
                if lag["events_behind"] == 0:
                    return time.perf_counter() - started
                await asyncio.sleep(0.01)


async def test_posting_and_reading(stack: Stack) -> None:
    environment = stack.env()
    key = await _create_tenant(environment, "bench")
    ingest, query = environment["FREEHOLD_INGEST_URL"], environment["FREEHOLD_QUERY_URL"]
    table = Table("load", "connections", "per s", "p50 ms", "p99 ms")

    def show(name: str, connections: int, result: Result, events_each: int = 1) -> None:
        table.add_row(
            name,
            str(connections),
            f"{result.per_s * events_each:,.0f}",
            f"{result.latency_ms(0.5):.2f}",
            f"{result.latency_ms(0.99):.2f}",
        )

    for connections, requests in ((1, 500), (64, 10_000)):
        posts = [_post(key, "/v1/events", _event()) for _ in range(requests)]
        result = await run(ingest, iter(posts), connections=connections, status=201)
        show("POST /v1/events", connections, result)
    batches = [
        _post(key, "/v1/events/batch", {"events": [_event() for _ in range(1000)]})
        for _ in range(20)
    ]
    result = await run(ingest, iter(batches), connections=2, status=201)
    show("POST /v1/events/batch of 1,000 (events)", 2, result, 1000)
    caught_up_s = await _wait_until_projected(environment, key)
    for connections, requests in ((1, 1000), (64, 20_000)):
        gets = [
            request_bytes(
                "GET",
                f"/v1/accounts/cus_{number % 5000}/balances",
                {"authorization": f"Bearer {key}"},
            )
            for number in range(requests)
        ]
        result = await run(query, iter(gets), connections=connections, status=200)
        show("GET balances", connections, result)
    Console().print(table, f"projected {caught_up_s:.3f} s after the last answer")
