"""What other tenants notice of an export, and of a backup, of a large ledger beside them."""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from rich.console import Console
from rich.table import Table

from bench.load import request_bytes
from bench.operators import operator
from bench.pacing import run_paced
from freehold_local.stack import Stack
from support.waiting import eventually

EVENTS = 300_000
BATCH = 10_000
QUIET_PER_S = 100
ROUNDS = 3
ROUND_S = 4.0
# Work beside is under way by then.
WARM_UP_S = 0.5

_numbers = itertools.count(time.time_ns())


@dataclass
class Phase:
    """What the quiet tenant saw, in all rounds."""

    latencies_s: list[float] = field(default_factory=list)

    def latency_ms(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[int(len(ordered) * share)] * 1000


@dataclass
class Tenant:
    """A tenant of this test."""

    tenant_id: str
    key: str


def _posts(key: str) -> "map[bytes]":
    event = {"account_id": "cus_42", "event_type": "CHARGE", "amount_minor": 1, "currency": "USD"}
    body = json.dumps(event).encode()

    def post(number: int) -> bytes:
        headers = {"authorization": f"Bearer {key}", "idempotency-key": str(number)}
        return request_bytes("POST", "/v1/events", headers, body)

    return map(post, _numbers)


async def _new_tenant(stack: Stack, name: str) -> Tenant:
    async with operator(stack) as client:
        body = {"tenant_id": f"{name}-{next(_numbers)}", "name": name}
        made = await client.post("/v1/tenants", json=body)
        made.raise_for_status()
    return Tenant(body["tenant_id"], made.json()["api_key"])


async def _fill(stack: Stack, tenant: Tenant) -> None:
    headers = {"Authorization": f"Bearer {tenant.key}", "Prefer": "return=minimal"}
    async with httpx.AsyncClient(headers=headers, timeout=120, trust_env=False) as client:
        for _ in range(0, EVENTS, BATCH):
            events = [
                {
                    "account_id": f"cus_{n % 5_000}",
                    "event_type": "CHARGE",
                    "amount_minor": 2000,
                    "currency": "USD",
                    "external_id": f"ch_{next(_numbers)}",
                    "metadata": {"plan": "pro"},
                }
                for n in range(BATCH)
            ]
            answer = await client.post(
                f"{stack.env()['FREEHOLD_INGEST_URL']}/v1/events/batch",
                headers={"Idempotency-Key": str(next(_numbers))},
                json={"events": events},
            )
            answer.raise_for_status()
        query = f"{stack.env()['FREEHOLD_QUERY_URL']}/v1/lag"

        async def is_projected() -> bool:
            return not (await client.get(query)).json()["events_behind"]

        await eventually(is_projected, "all is projected", within_s=300)


@asynccontextmanager
async def _exporting(stack: Stack, tenant: Tenant) -> AsyncIterator[None]:
    """Have an export going on all the while, taken by a client with a process of its own."""
    url = f"{stack.env()['FREEHOLD_TENANT_MANAGER_URL']}/v1/export"
    client = await asyncio.create_subprocess_exec(
        "curl", "--silent", "--noproxy", "*", "--config", "-", stdin=asyncio.subprocess.PIPE
    )
    if client.stdin is None:
        raise RuntimeError("the client reads nothing")
    # A key is nothing for a command line.
    choices = {"url": url, "header": f"Authorization: Bearer {tenant.key}", "output": "/dev/null"}
    client.stdin.write("".join(f'{name} = "{to}"\n' for name, to in choices.items()).encode())
    client.stdin.close()
    await asyncio.sleep(WARM_UP_S)
    yield
    # Only what lasts longer than a round says anything about it.
    assert client.returncode is None, "the export has ended; take more events"
    client.kill()
    await client.wait()


@asynccontextmanager
async def _backing_up(stack: Stack, tenant: Tenant) -> AsyncIterator[None]:
    """Have a backup going on, and let it end afterwards."""
    async with operator(stack) as client:
        asked = await client.post(f"/v1/tenants/{tenant.tenant_id}/backups")
        asked.raise_for_status()
        path = f"/v1/operations/{asked.json()['operation_id']}"

        async def is_under_way() -> bool:
            return bool((await client.get(path)).json()["progress"])

        async def is_done() -> bool:
            return bool((await client.get(path)).json()["status"] == "succeeded")

        await eventually(is_under_way, "the backup is under way")
        yield
        assert not await is_done(), "take more events"
        await eventually(is_done, "the backup is made", within_s=300)


@asynccontextmanager
async def _nothing(_: Stack, __: Tenant) -> AsyncIterator[None]:
    yield


def _memory_mb(stack: Stack) -> float:
    """The most memory that the stack's tenant-manager has had so far."""
    token = f"FREEHOLD_OPERATOR_TOKEN={stack.env()['FREEHOLD_OPERATOR_TOKEN']}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            if b"freehold-tenant-manager" in command and token in (
                (process / "environ").read_bytes()
            ):
                status = (process / "status").read_text()
                return int(status.partition("VmHWM:")[2].split()[0]) / 1024
        except OSError:
            continue
    raise LookupError("tenant-manager does not run")


@pytest.mark.timeout(600)
async def test_an_export_by_another_tenant(stack: Stack) -> None:
    quiet, large = await _new_tenant(stack, "quiet"), await _new_tenant(stack, "large")
    await _fill(stack, large)
    ingest = stack.env()["FREEHOLD_INGEST_URL"]
    memory_mb = await asyncio.to_thread(_memory_mb, stack)
    phases = {
        "nothing": (Phase(), _nothing),
        "an export": (Phase(), _exporting),
        "a backup": (Phase(), _backing_up),
    }
    for _ in range(ROUNDS):
        for phase, beside in phases.values():
            async with beside(stack, large):
                paced = await run_paced(
                    ingest, _posts(quiet.key), per_s=QUIET_PER_S, seconds=ROUND_S, connections=16
                )
            assert set(paced.statuses) == {201}
            phase.latencies_s += paced.latencies_s

    alone, _ = phases["nothing"]
    table = Table(
        "beside it goes on",
        "p50 ms",
        "p99 ms",
        "p99 to alone",
        title=f"A tenant with {QUIET_PER_S} appends a second; another's ledger has {EVENTS:,}",
    )
    for name, (phase, _) in phases.items():
        table.add_row(
            name,
            f"{phase.latency_ms(0.5):.2f}",
            f"{phase.latency_ms(0.99):.2f}",
            f"{phase.latency_ms(0.99) / alone.latency_ms(0.99):.2f}",
        )
    console = Console(width=120)
    console.print(table)
    memory_after_mb = await asyncio.to_thread(_memory_mb, stack)
    console.print(
        f"tenant-manager's memory: {memory_mb:.0f} MB before, at most {memory_after_mb:.0f} MB"
    )
