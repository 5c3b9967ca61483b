"""How long a thousand tenants of the first release take to be brought up to date."""

import asyncio
import json
import time
from collections.abc import Coroutine, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from bench.load import request_bytes
from bench.pacing import run_paced
from freehold.ledger.schema import LEDGER_VERSION
from freehold_local.stack import Stack
from support.answers import found
from support.clients import Freehold, Tenant, event_body, reaching
from support.releases import earlier_release_of
from support.stacks import addresses_of

TENANTS = 1_000
TARGET_S = 120
ALONE_S = 5
SECONDS_MAX = 600
APPENDS_PER_S = 50
_numbers = count()


@pytest.fixture
def crowded_stack(tmp_path: Path) -> Iterator[Stack]:
    """A Freehold of its own: a thousand databases more would tell on whatever is measured next."""
    stack = Stack(tmp_path, {}, ports="free")
    stack.up()
    yield stack
    stack.discard()


@pytest.mark.timeout(SECONDS_MAX)
async def test_a_thousand_tenants_are_migrated(crowded_stack: Stack) -> None:
    """While another tenant, who is up to date, goes on appending."""
    stack = crowded_stack
    earlier = earlier_release_of(stack, None)
    began = time.monotonic()
    await earlier.leave(TENANTS)
    left_s = time.monotonic() - began
    async with reaching(addresses_of(stack)) as freehold:
        bystander = await freehold.new_tenant()
        alone = await appending(bystander, asyncio.sleep(ALONE_S))
        began = time.monotonic()
        during = await appending(bystander, migrate(freehold))
        seconds = time.monotonic() - began
        overview = found(await freehold.manage("GET", "/migrations", params={"limit": 1}))
    show(left_s, seconds, alone, during)
    async with earlier.connected("postgres") as superuser:
        # What is thrown away in a moment need not be written to the disk first.
        await superuser.execute("ALTER SYSTEM SET fsync = off")
        await superuser.execute("SELECT pg_reload_conf()")
    assert overview["statuses"]["current"] == TENANTS + 1
    assert overview["versions"] == [{"schema_version": LEDGER_VERSION, "tenants": TENANTS + 1}]
    assert seconds < TARGET_S


async def migrate(freehold: Freehold) -> None:
    operation = await freehold.operator.migrate_ledgers(phase="after")
    await freehold.end_of(operation, within_s=5 * TARGET_S)


async def appending(tenant: Tenant, work: Coroutine[Any, Any, None]) -> list[float]:
    """Have a tenant append at an even pace until some work is done; give the latencies."""
    latencies_s: list[float] = []
    task = asyncio.create_task(work)
    while not task.done():
        paced = await run_paced(
            tenant.freehold.addresses.ingest,
            appends(tenant),
            per_s=APPENDS_PER_S,
            seconds=1,
            connections=16,
        )
        assert set(paced.statuses) == {201}
        latencies_s += paced.latencies_s
    await task
    return sorted(latencies_s)


def appends(tenant: Tenant) -> Iterator[bytes]:
    body = json.dumps(event_body()).encode()
    while True:
        headers = {
            "authorization": f"Bearer {tenant.api_key}",
            "content-type": "application/json",
            "idempotency-key": f"key-{next(_numbers)}",
        }
        yield request_bytes("POST", "/v1/events", headers, body)


def show(left_s: float, seconds: float, alone: list[float], during: list[float]) -> None:
    table = Table("measured", "value", title="Migrating every tenant")
    table.add_row("tenants", f"{TENANTS:,}, whose ledgers are made at version {LEDGER_VERSION}")
    table.add_row("made beforehand in", f"{left_s:.1f} s")
    table.add_row("migrated in", f"{seconds:.1f} s (target {TARGET_S})")
    table.add_row("each", f"{seconds / TENANTS * 1000:.0f} ms")
    for name, latencies_s in (("before", alone), ("meanwhile", during)):
        p50, p99 = (latencies_s[int(len(latencies_s) * share)] * 1000 for share in (0.5, 0.99))
        table.add_row(
            f"another tenant's appends, {APPENDS_PER_S} a second, {name}",
            f"p50 {p50:.1f} ms, p99 {p99:.1f} ms",
        )
    Console(width=120).print(table)
