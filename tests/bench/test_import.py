"""Importing a million events: how fast it goes, and that no service keeps what passes through."""

import asyncio
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from rich.console import Console
from rich.table import Table

from freehold_local.stack import Stack

WARM_UP_EVENTS = 50_000
REQUEST_EVENTS = 250_000
COMMAND_EVENTS = 1_000_000
LINES_AT_ONCE = 1_000
SECONDS_MAX = 900
SERVICES = ("ingest", "projector")
# 160 MiB pass through. What remains of growth is what an allocator holds on to.
GROWTH_MIB_MAX = 32


@pytest.mark.timeout(SECONDS_MAX)
async def test_a_million_events_leave_no_trace_in_memory(stack: Stack, tmp_path: Path) -> None:
    environment = stack.env()
    numbers = itertools.count(1)
    file = tmp_path / "events.ndjson"
    with file.open("wb") as writing:
        for first in range(0, COMMAND_EVENTS, LINES_AT_ONCE):
            writing.write(_lines(first))
    table = Table("import", "events", "seconds", "per s", *(f"{name} MiB" for name in SERVICES))

    def memory(field: str) -> list[float]:
        return [_memory_mib(stack.pid(name), field) for name in SERVICES]

    async def measure(name: str, events: int) -> list[float]:
        tenant_id = f"bench-import-{next(numbers)}"
        key = await _create_tenant(environment, tenant_id)
        before = memory("VmRSS")
        started = time.perf_counter()
        if name == "one request":
            await _stream(environment, key, events)
        else:
            await _command(environment, tenant_id, events, file)
        seconds = time.perf_counter() - started
        most = memory("VmHWM")
        table.add_row(
            name,
            f"{events:,}",
            f"{seconds:.1f}",
            f"{events / seconds:,.0f}",
            *(f"{was:.0f} → {is_now:.0f}" for was, is_now in zip(before, most, strict=True)),
        )
        return [is_now - was for was, is_now in zip(before, most, strict=True)]

    # Connections are opened and pools filled; what comes after is to find all of that there.
    await measure("one request", WARM_UP_EVENTS)
    growth = await measure("one request", REQUEST_EVENTS)
    growth += await measure("freehold import", COMMAND_EVENTS)
    Console().print(table)
    assert max(growth) < GROWTH_MIB_MAX


async def _stream(environment: dict[str, str], key: str, events: int) -> None:
    async def body() -> AsyncIterator[bytes]:
        for first in range(0, events, LINES_AT_ONCE):
            yield _lines(first)

    async with httpx.AsyncClient(timeout=SECONDS_MAX, trust_env=False) as client:
        answer = await client.post(
            f"{environment['FREEHOLD_INGEST_URL']}/v1/events/import",
            content=body(),
            headers={"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"},
        )
    last = json.loads(answer.text.splitlines()[-1])
    assert (last["done"], last["accepted"]) == (True, events)


async def _command(environment: dict[str, str], tenant_id: str, events: int, file: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("freehold"),
        *("import", file, "--tenant", tenant_id, "--json"),
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert json.loads(out)["accepted"] == events


async def _create_tenant(environment: dict[str, str], tenant_id: str) -> str:
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        answer = await client.post(
            f"{environment['FREEHOLD_TENANT_MANAGER_URL']}/v1/tenants",
            headers={"Authorization": f"Bearer {environment['FREEHOLD_OPERATOR_TOKEN']}"},
            json={"tenant_id": tenant_id, "name": tenant_id},
        )
    return str(answer.json()["api_key"])


def _lines(first: int) -> bytes:
    """Lines of ordinary size: 160 bytes."""
    return b"".join(
        b'{"account_id":"cus_%d","event_type":"CHARGE","amount_minor":2000,"currency":"USD",'
        b'"transaction_time":"2026-03-01T12:00:00Z","external_id":"ch_%d",'
        b'"metadata":{"plan":"pro"}}\n' % (number % 5000, number)
        for number in range(first, first + LINES_AT_ONCE)
    )


def _memory_mib(pid: int, field: str) -> float:
    """A process's memory: VmRSS is what it has now, VmHWM the most it ever had (proc(5))."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith(f"{field}:")]
    return int(line.split()[1]) / 1024
