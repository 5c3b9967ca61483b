"""A million events restored to an arbitrary second: how long until the tenant works there again."""

import asyncio
import time
from datetime import datetime
from typing import Any

import httpx
import pytest
from rich.console import Console
from rich.table import Table

from freehold.ledger.appending import append
from freehold.ledger.client import Connection
from freehold_local.postgres import PrivatePostgres
from freehold_local.stack import Stack
from support.builders import append_request, new_event
from support.ledgers import Ledger

EVENTS = 1_000_000
BATCH = 10_000
ACCOUNTS = 5_000
BACKED_UP = 600_000
TIMEOUT_S = 600
SECONDS_MAX = 60


@pytest.mark.timeout(TIMEOUT_S)
async def test_a_million_events_are_restored_to_an_arbitrary_second(stack: Stack) -> None:
    environment = stack.env()
    async with httpx.AsyncClient(
        base_url=f"{environment['FREEHOLD_TENANT_MANAGER_URL']}/v1",
        headers={"Authorization": f"Bearer {environment['FREEHOLD_OPERATOR_TOKEN']}"},
        timeout=60,
        trust_env=False,
    ) as manager:
        made = await manager.post("/tenants", json={"tenant_id": "bench-restore", "name": "x"})
        database = made.json()["tenant"]["home"]["database"]
        url = PrivatePostgres(stack.state / "postgres").url
        ledger = Ledger(url.rpartition("/")[0] + f"/{database}")
        async with ledger.connection() as connection:
            await fill(connection, BACKED_UP)
            await ended(manager, await manager.post("/tenants/bench-restore/backups"))
            instant = await fill(connection, EVENTS - BACKED_UP)
            # What came after the second that is asked for.
            await fill(connection, BATCH)
        table = Table("what", "events", "seconds", "a second", "segments")
        begun = time.perf_counter()
        await archived(stack, EVENTS + BATCH)
        table.add_row("archive's lag", "", f"{time.perf_counter() - begun:.1f}", "", "")
        begun = time.perf_counter()
        answer = await manager.post(
            "/tenants/bench-restore/restores", json={"to": instant.isoformat()}
        )
        result = await ended(manager, answer)
        seconds = time.perf_counter() - begun
        table.add_row(
            f"restore, {BACKED_UP:,} of a backup",
            f"{result['head_seq']:,}",
            f"{seconds:.1f}",
            f"{result['head_seq'] / seconds:,.0f}",
            str(result["segments"]),
        )
    Console().print(table)
    assert result["head_seq"] == EVENTS
    assert seconds < SECONDS_MAX


async def fill(connection: Connection, events: int) -> datetime:
    """Append, and say when that was."""
    for _ in range(events // BATCH):
        await append(connection, [append_request(*batch())])
    instant: datetime = await connection.fetchval("SELECT clock_timestamp()")
    await asyncio.sleep(0.01)
    return instant


_numbers = iter(range(10**9))


def batch() -> list[Any]:
    return [
        new_event(
            f"cus_{(place := next(_numbers)) % ACCOUNTS}",
            2_000,
            external_id=f"ch_{place}",
            metadata={"plan": "pro"},
        )
        for _ in range(BATCH)
    ]


async def archived(stack: Stack, seq: int) -> None:
    url = PrivatePostgres(stack.state / "postgres").url
    async with Ledger(url.rpartition("/")[0] + "/freehold_catalog").connection() as catalog:
        # Nobody has rung for what was appended behind ingest's back.
        await catalog.execute("UPDATE catalog.tenant_epochs SET due_at = now()")
        while (await catalog.fetchval("SELECT max(archived_seq) FROM catalog.tenant_epochs")) < seq:  # noqa: ASYNC110 (as others do)
            await asyncio.sleep(0.1)


async def ended(manager: httpx.AsyncClient, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    while True:
        shown = (await manager.get(f"/operations/{answer.json()['operation_id']}")).json()
        if shown["finished_at"] is not None:
            assert shown["status"] == "succeeded", shown
            result: dict[str, Any] = shown["result"]
            return result
        await asyncio.sleep(0.1)
