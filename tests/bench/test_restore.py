"""A million events restored to an arbitrary second: how long until the tenant works there again."""

import asyncio
import time
from datetime import datetime
from typing import Any

import httpx
import pytest
from rich.console import Console
from rich.table import Table

from bench.operators import operator
from freehold.ledger.append import append
from freehold.ledger.client import Connection
from freehold_local.postgres import PrivatePostgres
from freehold_local.stack import Stack
from support.builders import append_request, new_event
from support.ledgers import Ledger
from support.operations import request_ended, result_of

EVENTS = 1_000_000
BATCH = 10_000
ACCOUNTS = 5_000
BACKED_UP = 600_000
TIMEOUT_S = 600
SECONDS_MAX = 60


@pytest.mark.timeout(TIMEOUT_S)
async def test_a_million_events_are_restored_to_an_arbitrary_second(stack: Stack) -> None:
    async with operator(stack) as manager:
        made = await manager.post("/v1/tenants", json={"tenant_id": "bench-restore", "name": "x"})
        database = made.json()["tenant"]["home"]["database"]
        url = PrivatePostgres(stack.state / "postgres").url
        ledger = Ledger(url.rpartition("/")[0] + f"/{database}")
        async with ledger.connection() as connection:
            await fill(connection, BACKED_UP)
            await request_ended(manager, await manager.post("/v1/tenants/bench-restore/backups"))
            instant = await fill(connection, EVENTS - BACKED_UP)
            # What came after the second that is asked for.
            await fill(connection, BATCH)
        table = Table("what", "events", "seconds", "a second", "segments")
        begun = time.perf_counter()
        await ring(stack.env(), made.json()["api_key"])
        await archived(stack, EVENTS + BATCH + 1)
        table.add_row("archive's lag", "", f"{time.perf_counter() - begun:.1f}", "", "")

        async def restore(name: str) -> dict[str, Any]:
            begun = time.perf_counter()
            answer = await manager.post(
                "/v1/tenants/bench-restore/restores", json={"to": instant.isoformat()}
            )
            result = result_of(await request_ended(manager, answer))
            seconds = time.perf_counter() - begun
            table.add_row(
                name,
                f"{result['head_seq']:,}",
                f"{seconds:.1f}",
                f"{result['head_seq'] / seconds:,.0f}",
                str(result["segments"]),
            )
            return {**result, "seconds": seconds}

        results = [await restore(f"restore, {BACKED_UP:,} of a backup")]
        await without_the_backup(stack)
        results.append(await restore("restore, all of segments"))
    Console().print(table)
    assert [result["backup_id"] is None for result in results] == [False, True]
    assert [result["head_seq"] for result in results] == [EVENTS, EVENTS]
    assert max(result["seconds"] for result in results) < SECONDS_MAX


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


async def ring(environment: dict[str, str], api_key: str) -> None:
    """Append one more event by ingest, which rings also for what was appended behind its back."""
    async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
        answer = await client.post(
            f"{environment['FREEHOLD_INGEST_URL']}/v1/events",
            headers={"Authorization": f"Bearer {api_key}", "Idempotency-Key": "the last"},
            json={
                "account_id": "cus_1",
                "event_type": "CHARGE",
                "amount_minor": 1,
                "currency": "USD",
            },
        )
    assert answer.status_code == 201, answer.text


def catalog_of(stack: Stack) -> Ledger:
    url = PrivatePostgres(stack.state / "postgres").url
    return Ledger(url.rpartition("/")[0] + "/freehold_catalog")


async def without_the_backup(stack: Stack) -> None:
    """Have it taken for damaged, so that it is not restored from any more."""
    async with catalog_of(stack).connection() as catalog:
        await catalog.execute(
            "UPDATE catalog.backups SET status = 'damaged' WHERE tenant_id = 'bench-restore'"
        )


async def archived(stack: Stack, seq: int) -> None:
    async with catalog_of(stack).connection() as catalog:
        reached = "SELECT coalesce(max(archived_seq), 0) FROM catalog.tenant_epochs"
        while (await catalog.fetchval(reached)) < seq:  # noqa: ASYNC110 (as others do)
            await asyncio.sleep(0.1)
