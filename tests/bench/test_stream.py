"""Live balances: how long after the acceptance of an event its client has the balance."""

import asyncio
import itertools
import json
import multiprocessing
import re
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import uvloop
from rich.console import Console
from rich.table import Table

from bench.load import request_bytes
from bench.pacing import Paced, run_paced
from freehold_local.stack import Stack

EVENTS_PER_S = 500
SECONDS = 8.0
CONNECTIONS = 32
ACCOUNTS = 1_000

_BALANCE = re.compile(
    rb'"last_ledger_event_id":"([0-9a-f]{8})-([0-9a-f]{4}).*?"last_updated_time":"([^"]+)"'
)
_numbers = itertools.count(time.time_ns())


def posts(key: str) -> Iterator[bytes]:
    """Events without end, on one account after the other."""
    for number in _numbers:
        body = {
            "account_id": f"cus_{number % ACCOUNTS:04}",
            "event_type": "CHARGE",
            "amount_minor": 1,
            "currency": "USD",
        }
        headers = {"authorization": f"Bearer {key}", "idempotency-key": str(number)}
        yield request_bytes("POST", "/v1/events", headers, json.dumps(body).encode())


def send(url: str, key: str, per_s: float) -> Paced:
    return uvloop.run(
        run_paced(url, posts(key), per_s=per_s, seconds=SECONDS, connections=CONNECTIONS)
    )


@dataclass
class Heard:
    """What all clients of a load were sent."""

    latencies_s: list[float] = field(default_factory=list)
    """From the millisecond in the event's id, so up to one too long."""
    projected_s: list[float] = field(default_factory=list)
    """How much of that was before the projection."""
    clients: int = 0


def at_ms(share: float, latencies_s: list[float]) -> str:
    return f"{sorted(latencies_s)[int(len(latencies_s) * share)] * 1000:.1f}"


class _Client(asyncio.Protocol):
    """Listens, and does as little as can be."""

    def __init__(self, request: bytes, heard: Heard) -> None:
        self._request = request
        self._heard = heard
        self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if not self._is_open:
            assert data.startswith(b"HTTP/1.1 200"), data
            self._is_open = True
            self._heard.clients += 1
        now = time.time()
        for high, low, projected_at in _BALANCE.findall(data):
            accepted_at = int(high + low, 16) / 1000
            projected = datetime.fromisoformat(projected_at.decode()).timestamp()
            self._heard.latencies_s.append(now - accepted_at)
            self._heard.projected_s.append(projected - accepted_at)


async def listen(
    url: str, requests: list[bytes], heard: Heard, work: asyncio.Future[Paced]
) -> None:
    """Have a client for each request until the work is done."""
    address = urlsplit(url)
    loop = asyncio.get_running_loop()
    opened = [
        (
            await loop.create_connection(
                partial(_Client, request, heard), address.hostname or "", address.port or 80
            )
        )[0]
        for request in requests
    ]
    async with asyncio.timeout(30):
        while heard.clients < len(requests):  # noqa: ASYNC110 (as others do)
            await asyncio.sleep(0.05)
    heard.latencies_s.clear()
    heard.projected_s.clear()
    await work
    await asyncio.sleep(0.5)
    for transport in opened:
        transport.close()


@pytest.fixture
async def key(stack: Stack) -> str:
    environment = stack.env()
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        made = await client.post(
            f"{environment['FREEHOLD_TENANT_MANAGER_URL']}/v1/tenants",
            headers={"Authorization": f"Bearer {environment['FREEHOLD_OPERATOR_TOKEN']}"},
            json={"tenant_id": f"live-{next(_numbers)}", "name": "live"},
        )
    api_key: str = made.raise_for_status().json()["api_key"]
    return api_key


def cpu_s(stack: Stack, service: str) -> float:
    tasks = Path(f"/proc/{stack.pid(service)}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


def resident_mib(stack: Stack, service: str) -> float:
    """Memory of a service that is no other's (proc(5))."""
    pages = int(Path(f"/proc/{stack.pid(service)}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


async def test_from_the_event_to_the_client(stack: Stack, key: str) -> None:
    environment = stack.env()
    query, ingest = environment["FREEHOLD_QUERY_URL"], environment["FREEHOLD_INGEST_URL"]
    loop = asyncio.get_running_loop()
    table = Table(
        "clients",
        "events per s",
        "balances sent",
        "ingest answers, p50 ms",
        "projected, p50",
        "at the client, p50",
        "p99",
        "CPU of query",
        "MiB of query",
        title=f"From the acceptance of an event to the client, over {SECONDS:g} s",
    )
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawning) as pool:
        for name, prefixes, per_s in (
            ("1, of all accounts", [""], EVENTS_PER_S),
            ("100, of all accounts", [""] * 100, EVENTS_PER_S // 5),
            (
                "1,000, of an account each",
                [f"cus_{number:04}" for number in range(1_000)],
                EVENTS_PER_S,
            ),
        ):
            heard = Heard()
            requests = [
                request_bytes(
                    "GET", f"/v1/stream?account_prefix={prefix}", {"authorization": f"Bearer {key}"}
                )
                for prefix in prefixes
            ]
            begun = cpu_s(stack, "query")
            work = loop.run_in_executor(pool, send, ingest, key, per_s)
            await listen(query, requests, heard, work)
            paced = await work
            assert set(paced.statuses) == {201}
            table.add_row(
                name,
                f"{per_s:,}",
                f"{len(heard.latencies_s):,}",
                at_ms(0.5, paced.latencies_s),
                at_ms(0.5, heard.projected_s),
                at_ms(0.5, heard.latencies_s),
                at_ms(0.99, heard.latencies_s),
                f"{(cpu_s(stack, 'query') - begun) / SECONDS:.0%}",
                f"{resident_mib(stack, 'query'):.0f}",
            )
    Console(width=120).print(table)
