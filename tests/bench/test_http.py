"""How much of Postgres's speed arrives through HTTP, with everything on this machine.

CPU is that of the ingest process: other work on the machine changes it less than the rates.
"""

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from bench.limits import copied_rows_per_s, plain_inserts_per_s
from bench.load import Result, request_bytes, run
from bench.operators import operator
from bench.pool import pool_is_full
from freehold_local.stack import Stack
from support.ledgers import Ledgers

TENANTS = 50
BATCH = 1_000
LIMITED_ACCOUNTS = 200
SECONDS_MAX = 20
LAG_EVERY_S = 0.02
# Rows a second that COPY wrote at the least where the targets were set.
COPIED_THERE = 155_000
_numbers = itertools.count()
_keys = itertools.count()


class Report:
    """What was measured, each beside its target and beside what Postgres itself can do."""

    def __init__(self, title: str) -> None:
        self._table = Table(
            "load",
            "connections",
            "per s",
            "target",
            "p50 ms",
            "p99 ms",
            "CPU us",
            "of",
            "ratio",
            title=title,
        )

    def add(
        self,
        name: str,
        connections: int,
        result: Result,
        *,
        target: str = "",
        events_each: int = 1,
        cpu_us: float | None = None,
        limit: tuple[str, float] | None = None,
    ) -> None:
        per_s = result.per_s * events_each
        self._table.add_row(
            name,
            str(connections),
            f"{per_s:,.0f}",
            target,
            f"{result.latency_ms(0.5):.2f}",
            f"{result.latency_ms(0.99):.2f}",
            "" if cpu_us is None else f"{cpu_us:.0f}",
            f"{limit[0]} {limit[1]:,.0f}/s" if limit else "",
            f"{per_s / limit[1]:.2f}" if limit else "",
        )

    def show(self, *notes: str) -> None:
        Console(width=140).print(self._table, *notes, sep="\n")


class Tenant:
    """A tenant of the bench, and requests of theirs."""

    def __init__(self, stack: Stack, key: str) -> None:
        self._query = stack.env()["FREEHOLD_QUERY_URL"]
        self._authorization = {"authorization": f"Bearer {key}"}

    def event(self) -> bytes:
        return self._post("/v1/events", _event())

    def batch(self, prefer: str) -> bytes:
        body = {"events": [_event() for _ in range(BATCH)]}
        return self._post("/v1/events/batch", body, prefer=f"return={prefer}")

    def transaction(self, accounts: str = "cus", accounts_max: int = 5000) -> bytes:
        number = next(_numbers)
        legs = [
            {**_event(), "account_id": f"{accounts}_{(number + leg) % accounts_max}"}
            for leg in range(2)
        ]
        legs[0]["amount_minor"] = -2000
        return self._post("/v1/transactions", {"legs": legs})

    def hold(self) -> bytes:
        account_id = f"cus_{next(_numbers) % 5000}"
        body = {"account_id": account_id, "currency": "USD", "amount_minor": 5}
        return self._post("/v1/holds", body)

    def limited_accounts(self) -> list[tuple[bytes, int]]:
        """Requests that give accounts money and a limit, each with the status of its answer."""
        events = [
            {**_event(), "account_id": f"lim_{number}", "amount_minor": 10**12}
            for number in range(LIMITED_ACCOUNTS)
        ]
        limit = json.dumps({"currency": "USD", "min_balance_minor": 0}).encode()
        path = "/v1/accounts/lim_{}/limits"
        return [
            (self._post("/v1/events/batch", {"events": events}), 201),
            *(
                (request_bytes("PUT", path.format(number), self._authorization, limit), 200)
                for number in range(LIMITED_ACCOUNTS)
            ),
        ]

    def balance(self, account_id: str) -> bytes:
        return request_bytes("GET", f"/v1/accounts/{account_id}/balances", self._authorization)

    async def lags_s(self, lags: list[float], *, until_none: bool = False) -> None:
        """Note again and again how many seconds the balances are behind."""
        async with httpx.AsyncClient(headers=self._authorization, trust_env=False) as client:
            while True:
                lag = (await client.get(f"{self._query}/v1/lag")).json()
                lags.append(lag["seconds_behind"])
                if until_none and not lag["events_behind"]:
                    return
                await asyncio.sleep(LAG_EVERY_S)

    def _post(self, path: str, body: object, **headers: str) -> bytes:
        sent = {**self._authorization, "idempotency-key": f"key-{next(_keys)}", **headers}
        return request_bytes("POST", path, sent, json.dumps(body).encode())


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


async def new_tenants(stack: Stack, how_many: int) -> list[Tenant]:
    tenants = []
    async with operator(stack) as client:
        for _ in range(how_many):
            tenant_id = f"bench-{next(_numbers)}"
            body = {"tenant_id": tenant_id, "name": tenant_id}
            answer = await client.post("/v1/tenants", json=body)
            tenants.append(Tenant(stack, answer.json()["api_key"]))
        await pool_is_full(client)
    return tenants


async def send(stack: Stack, requests: Iterable[bytes], connections: int) -> Result:
    ingest = stack.env()["FREEHOLD_INGEST_URL"]
    return await run(ingest, list(requests), connections=connections, status=201)


def ingest_cpu_s(stack: Stack) -> float:
    """The CPU time that the ingest process has used (proc(5), schedstat counts nanoseconds)."""
    tasks = Path(f"/proc/{stack.pid('ingest')}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


async def send_measured(
    stack: Stack, requests: Iterable[bytes], connections: int
) -> tuple[Result, float]:
    """Send requests; also return ingest's CPU time for each, in microseconds."""
    before = ingest_cpu_s(stack)
    result = await send(stack, requests, connections)
    return result, (ingest_cpu_s(stack) - before) / result.requests * 1e6


def at(share: float, values: Sequence[float]) -> float:
    return sorted(values)[int(len(values) * share)]


async def test_one_tenant(stack: Stack, ledgers: Ledgers, tmp_path: Path) -> None:
    async with ledgers.fresh() as ledger:
        lone_insert = await plain_inserts_per_s(ledger, tmp_path, clients=1)
        inserts = await plain_inserts_per_s(ledger, tmp_path, clients=64)
        copied = await copied_rows_per_s(ledger)
    (tenant,) = await new_tenants(stack, 1)
    report = Report("One tenant")
    await send(stack, (tenant.event() for _ in range(3_000)), 64)

    result = await send(stack, (tenant.event() for _ in range(1_000)), 1)
    insert = ("pgbench, 1 client:", lone_insert)
    report.add("POST /v1/events", 1, result, target="p50 < 1.5 ms", limit=insert)

    lags: list[float] = []
    watching = asyncio.create_task(tenant.lags_s(lags))
    result, cpu_us = await send_measured(stack, (tenant.event() for _ in range(60_000)), 64)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    insert = ("pgbench, 64 clients:", inserts)
    report.add("POST /v1/events", 64, result, target="10,000", cpu_us=cpu_us, limit=insert)

    single = ("POST /v1/events:", result.per_s)
    ingest = stack.env()["FREEHOLD_INGEST_URL"]
    for request, status in tenant.limited_accounts():
        await run(ingest, [request], connections=1, status=status)
    limited = partial(tenant.transaction, "lim", LIMITED_ACCOUNTS)
    loads: tuple[tuple[str, str, Callable[[], bytes]], ...] = (
        ("POST /v1/transactions", "0.8", tenant.transaction),
        ("POST /v1/transactions, limits", "0.5", limited),
        ("POST /v1/holds", "", tenant.hold),
    )
    for name, target, make in loads:
        await send(stack, (make() for _ in range(500)), 64)
        result, cpu_us = await send_measured(stack, (make() for _ in range(20_000)), 64)
        report.add(name, 64, result, target=target, cpu_us=cpu_us, limit=single)

    for prefer in ("representation", "minimal"):
        batches = (tenant.batch(prefer) for _ in range(100))
        result = await send(stack, batches, 4)
        report.add(
            f"POST /v1/events/batch of {BATCH:,}, return={prefer} (events)",
            4,
            result,
            events_each=BATCH,
            target="40,000",
            limit=("COPY:", copied),
        )
    await asyncio.wait_for(tenant.lags_s([], until_none=True), SECONDS_MAX)

    for connections, requests in ((1, 1_000), (64, 20_000)):
        gets = [tenant.balance(f"cus_{number % 5000}") for number in range(requests)]
        query = stack.env()["FREEHOLD_QUERY_URL"]
        result = await run(query, gets, connections=connections, status=200)
        report.add("GET balances", connections, result)
    report.show(
        f"While 64 connections posted, balances were behind by {at(0.5, lags) * 1000:.0f} ms (p50),"
        f" {at(0.99, lags) * 1000:.0f} ms (p99; target < 100 ms), in {len(lags)} looks.",
        f"Where the targets were set, COPY wrote {COPIED_THERE:,} rows/s at the least; this machine"
        f" has {copied / COPIED_THERE:.2f} of that.",
    )


async def test_many_tenants_at_once(stack: Stack, ledgers: Ledgers, tmp_path: Path) -> None:
    async with ledgers.fresh() as ledger:
        inserts = await plain_inserts_per_s(ledger, tmp_path, clients=64)
    tenants = await new_tenants(stack, TENANTS)
    await send(stack, (tenant.event() for tenant in tenants for _ in range(2)), 8)
    lags: list[float] = []
    watching = asyncio.create_task(tenants[0].lags_s(lags))
    events = (tenants[number % TENANTS].event() for number in range(30_000))
    result = await send(stack, events, 200)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    report = Report(f"{TENANTS} tenants at once")
    insert = ("pgbench, 64 clients on one table:", inserts)
    report.add("POST /v1/events", 200, result, target="2,500", limit=insert)
    report.show(f"The first tenant's balances were behind by {at(0.99, lags) * 1000:.0f} ms (p99).")
