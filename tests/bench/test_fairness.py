"""What a tenant notices of another one who sends ten times their share."""

import asyncio
import itertools
import json
import multiprocessing
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import httpx
import pytest
import uvloop
from rich.console import Console
from rich.table import Table

from bench.load import request_bytes
from bench.pacing import Paced, run_paced
from bench.pool import pool_is_full
from freehold_local.stack import Stack

SHARE_PER_S = 200
FLOOD_PER_S = 10 * SHARE_PER_S
FLOOD_CONNECTIONS = 64
QUIET_PER_S = 100
QUIET_CONNECTIONS = 16
ROUNDS = 8
ROUND_S = 4.0
# Before each round the burst that the flooding tenant may have is used up.
WARM_UP_S = 1.0

_numbers = itertools.count(time.time_ns())


def posts(key: str, events: int) -> "itertools.repeat[bytes] | map[bytes]":
    """Requests without end, each with this number of events."""
    event = {
        "account_id": "cus_42",
        "event_type": "CHARGE",
        "amount_minor": 2000,
        "currency": "USD",
        "metadata": {"plan": "pro"},
    }
    path = "/v1/events" if events == 1 else "/v1/events/batch"
    body = json.dumps(event if events == 1 else {"events": [event] * events}).encode()

    def post(number: int) -> bytes:
        headers = {
            "authorization": f"Bearer {key}",
            "idempotency-key": str(number),
            "prefer": "return=minimal",
        }
        return request_bytes("POST", path, headers, body)

    return map(post, _numbers)


def send(url: str, key: str, events: int, per_s: float, seconds: float, connections: int) -> Paced:
    """Send requests of this number of events at a pace, from an event loop like the services'."""
    return uvloop.run(
        run_paced(url, posts(key, events), per_s=per_s, seconds=seconds, connections=connections)
    )


@dataclass
class Phase:
    """What the quiet tenant saw, in all rounds."""

    latencies_s: list[float] = field(default_factory=list)
    flood: Counter[int] = field(default_factory=Counter)

    def latency_ms(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[int(len(ordered) * share)] * 1000


@pytest.fixture
async def keys(stack: Stack) -> tuple[str, str]:
    """The keys of the quiet tenant, and of the one who is limited to the share."""
    environment = stack.env()
    manager = environment["FREEHOLD_TENANT_MANAGER_URL"]
    operator = {"Authorization": f"Bearer {environment['FREEHOLD_OPERATOR_TOKEN']}"}
    made = []
    async with httpx.AsyncClient(
        base_url=manager, headers=operator, timeout=60, trust_env=False
    ) as client:
        for name in ("quiet", "flooding"):
            body = {"tenant_id": f"{name}-{next(_numbers)}", "name": name}
            made.append((await client.post("/v1/tenants", json=body)).json())
        limits = await client.put(
            f"/v1/tenants/{made[1]['tenant']['tenant_id']}/limits",
            json={"events_per_s": SHARE_PER_S},
        )
        limits.raise_for_status()
        await pool_is_full(client)
    return made[0]["api_key"], made[1]["api_key"]


async def test_a_flood_by_another_tenant(stack: Stack, keys: tuple[str, str]) -> None:
    ingest = stack.env()["FREEHOLD_INGEST_URL"]
    quiet_key, flooding_key = keys
    loop = asyncio.get_running_loop()
    alone, beside_events, beside_batches = Phase(), Phase(), Phase()

    async def measure(phase: Phase) -> None:
        paced = await asyncio.to_thread(
            send, ingest, quiet_key, 1, QUIET_PER_S, ROUND_S, QUIET_CONNECTIONS
        )
        assert set(paced.statuses) == {201}
        phase.latencies_s += paced.latencies_s

    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawning) as flooding:
        for _ in range(ROUNDS):
            for phase, events in ((alone, 0), (beside_events, 1), (beside_batches, 100)):
                if not events:
                    await measure(phase)
                    continue
                seconds = WARM_UP_S + ROUND_S
                # In a process of its own: no time is taken from who measures.
                work = loop.run_in_executor(
                    flooding,
                    send,
                    ingest,
                    flooding_key,
                    events,
                    FLOOD_PER_S / events,
                    seconds,
                    FLOOD_CONNECTIONS,
                )
                await asyncio.sleep(WARM_UP_S)
                await measure(phase)
                phase.flood += (await work).statuses

    table = Table(
        "another tenant sends",
        "answered 201",
        "429",
        "p50 ms",
        "p99 ms",
        "p99 to quiet",
        title=f"A tenant with {QUIET_PER_S} requests a second, and one beside with a share of"
        f" {SHARE_PER_S} events a second",
    )
    for name, phase in (
        ("nothing", alone),
        (f"{FLOOD_PER_S:,} events a second, one by one", beside_events),
        (f"{FLOOD_PER_S:,} events a second, in hundreds", beside_batches),
    ):
        assert set(phase.flood) <= {201, 429}
        table.add_row(
            name,
            f"{phase.flood[201]:,}",
            f"{phase.flood[429]:,}",
            f"{phase.latency_ms(0.5):.2f}",
            f"{phase.latency_ms(0.99):.2f}",
            f"{phase.latency_ms(0.99) / alone.latency_ms(0.99):.2f}",
        )
    Console(width=120).print(table)
