"""How fast balances are read: beside FastAPI's layers, a bare echo, Redis, and the ledger alone.

Rates are taken in turn, in one process and one run. CPU is that of this process. Redis or Valkey is
measured where it is installed.
"""

import asyncio
import itertools
import math
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median

import asyncpg
import httpx
from rich.console import Console
from rich.table import Table

from bench.load import Result, request_bytes, run
from bench.operators import operator
from freehold.ledger.client import Connection
from freehold_local.postgres import PrivatePostgres
from freehold_local.stack import Stack
from support.waiting import eventually

ACCOUNTS = 100
CONNECTIONS = 64
REQUESTS = 5_000
ROUNDS = 5
ROWS_MAX = int(os.environ.get("FREEHOLD_TEST_ROWS_MAX", "1000000"))
TESTS = Path(__file__).parents[1]
# Ids that rise with seq, as UUIDv7 do, within the last day: partitions of other times are missing.
FILL = """
    INSERT INTO ledger_events (
        event_id, seq, account_id, transaction_time, recorded_at, event_type, amount_minor,
        currency, metadata, hash
    )
    SELECT
        (
            lpad(to_hex((extract(EPOCH FROM now())::bigint - 86400) * 1000 + n / 1000), 12, '0')
            || '7' || lpad(to_hex(n % 1000), 3, '0') || '8' || lpad(to_hex(n), 15, '0')
        )::uuid,
        n, 'cus_' || n % $3, now() - interval '1 day', now() - interval '1 day', 'CHARGE', 100,
        'USD', '{}', decode(repeat('00', 32), 'hex')
    FROM generate_series($1::bigint, $2) AS n
"""
END = """
    UPDATE ledger_head AS h SET last_seq = e.seq, last_event_id = e.event_id,
        last_recorded_at = e.recorded_at
    FROM (SELECT * FROM ledger_events ORDER BY event_id DESC LIMIT 1) AS e
"""
SUM = "SELECT sum(amount_minor), count(*) FROM ledger_events WHERE account_id = $1"
_numbers = itertools.count()


class Compared:
    """Query, with what it is compared with beside it, and a tenant of its own."""

    def __init__(self, port: int, process: int, key: str, ledger: Connection) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.ledger = ledger
        self.authorization = {"authorization": f"Bearer {key}"}
        self._tasks = Path(f"/proc/{process}/task")

    def get(self, path: str, **headers: str) -> bytes:
        return request_bytes("GET", path, {**self.authorization, **headers})

    def balances(self, before: str = "", **headers: str) -> list[bytes]:
        paths = (f"{before}/v1/accounts/cus_{n % ACCOUNTS}/balances" for n in range(REQUESTS))
        return [self.get(path, **headers) for path in paths]

    async def measured(
        self, requests: list[bytes], status: int = 200, connections: int = CONNECTIONS
    ) -> tuple[Result, float]:
        """Send requests; also give this process's CPU time for each, in microseconds."""
        before = self._cpu_s()
        result = await run(self.url, requests, connections=connections, status=status)
        return result, (self._cpu_s() - before) / result.requests * 1e6

    async def fill(self, rows: int) -> None:
        """Have the ledger grow to a number of events, in its tables alone, and project them."""
        first = 1 + await self.ledger.fetchval("SELECT last_seq FROM ledger_head")
        await self.ledger.execute(FILL, first, rows, ACCOUNTS, timeout=900)
        await self.ledger.execute(END)
        await self.ledger.fetchval("SELECT rebuild()", timeout=900)
        await self.ledger.execute("VACUUM ANALYZE", timeout=900)

    def _cpu_s(self) -> float:
        tasks = self._tasks.glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


async def test_routes_in_turn(stack: Stack) -> None:
    redis = next(filter(shutil.which, ("valkey-server", "redis-server")), None)
    with redis_running(redis) as redis_port:
        async with compared(stack, redis_port) as query:
            await query.fill(10_000)
            await store_in_redis(query, redis_port)
            tag = await etag(query)
            balances = query.balances
            kinds: dict[str, tuple[list[bytes], int]] = {
                "bare echo": ([query.get("/echo")] * REQUESTS, 200),
                "layered": (balances("/layered"), 200),
                "GET balances": (balances(), 200),
                "unchanged (304)": (
                    [query.get("/v1/accounts/cus_1/balances", **{"if-none-match": tag})] * REQUESTS,
                    304,
                ),
            }
            if redis_port is not None:
                kinds[f"{redis} in place of Postgres"] = (balances("/redis"), 200)
            taken: dict[str, list[tuple[Result, float]]] = {name: [] for name in kinds}
            for _, (name, (requests, status)) in itertools.product(range(ROUNDS), kinds.items()):
                taken[name].append(await query.measured(requests, status))
            alone = {
                name: (await query.measured(requests[:500], status, connections=1))[0]
                for name, (requests, status) in kinds.items()
            }
    table = Table(
        "64 connections",
        "per s",
        "p50 ms",
        "p99 ms",
        "CPU us",
        "of the echo",
        "of the layers",
        "alone, p50 ms",
    )
    rates = {name: median(result.per_s for result, _ in each) for name, each in taken.items()}
    for name, each in taken.items():
        table.add_row(
            name,
            f"{rates[name]:,.0f}",
            *(f"{median(r.latency_ms(share) for r, _ in each):.1f}" for share in (0.5, 0.99)),
            f"{median(cpu for _, cpu in each):.0f}",
            f"{rates[name] / rates['bare echo']:.2f}",
            f"{rates[name] / rates['layered']:.2f}",
            f"{alone[name].latency_ms(0.5):.2f}",
        )
    Console(width=120).print(table)


async def test_latency_while_the_ledger_grows(stack: Stack) -> None:
    """The state answers as fast whatever the ledger holds; a sum over the ledger does not."""
    points: list[tuple[int, float, float, float]] = []
    async with compared(stack, None) as query:
        for rows in (10**n for n in range(4, 1 + round(math.log10(ROWS_MAX)))):
            await query.fill(rows)
            await query.measured(query.balances())
            lone, _ = await query.measured(query.balances()[:1_000], connections=1)
            many, _ = await query.measured(query.balances())
            sums = []
            for number in range(20):
                began = time.perf_counter()
                await query.ledger.fetchrow(SUM, f"cus_{number}")
                sums.append((time.perf_counter() - began) * 1000)
            points.append((rows, lone.latency_ms(0.5), many.latency_ms(0.99), median(sums)))
    table = Table("events", "GET balances p50", "64 connections p99", "SUM over the ledger", "ms")
    for rows, p50, p99, summed in points:
        shown = (f"{value:.2f}" for value in (p50, p99, summed))
        table.add_row(f"{rows:,}", *shown, f"{bar(p50, '▒')}\n{bar(summed, '█')}")
    Console(width=120).print(table, "▒ GET balances, █ SUM: each step is a factor of two.")


def bar(milliseconds: float, block: str) -> str:
    """A bar on a scale of factors, which begins at 1/16 ms."""
    return block * max(1, round(math.log2(milliseconds * 16)) * 2)


@asynccontextmanager
async def compared(stack: Stack, redis_port: int | None) -> AsyncIterator[Compared]:
    """Run query, with what it is compared with, in the place of the stack's own."""
    tenant_id = f"reads-{next(_numbers)}"
    async with operator(stack) as manager:
        made = await manager.post("/v1/tenants", json={"tenant_id": tenant_id, "name": tenant_id})
    document = made.raise_for_status().json()
    database = document["tenant"]["home"]["database"]
    server = PrivatePostgres(stack.state / "postgres").url
    ledger = await asyncpg.connect(
        server, database=database, server_settings={"search_path": "ledger"}
    )
    port = free_port()
    settings = settings_of_query(stack) | {"FREEHOLD_PORT": str(port)}
    if redis_port is not None:
        settings["REDIS_PORT"] = str(redis_port)
    with running(sys.executable, "-m", "bench.compared", **settings) as process:
        await eventually(lambda: answers(port), "query is up")
        yield Compared(port, process, document["api_key"], ledger)
    await ledger.close()


def settings_of_query(stack: Stack) -> dict[str, str]:
    """The environment of the stack's own query."""
    lines = Path(f"/proc/{stack.pid('query')}/environ").read_text().split("\0")
    return dict(line.split("=", 1) for line in lines if "=" in line)


@contextmanager
def running(*command: str, **environment: str) -> Iterator[int]:
    """Run a program for a while, and give its process id."""
    process = subprocess.Popen(
        command, cwd=TESTS, env=environment or None, stdout=subprocess.DEVNULL
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


async def answers(port: int) -> bool:
    """Whether query is ready."""
    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
        except httpx.TransportError:
            return False


async def etag(query: Compared) -> str:
    """The tag of one account's balances."""
    async with httpx.AsyncClient(headers=query.authorization, trust_env=False) as client:
        answer = await client.get(f"{query.url}/v1/accounts/cus_1/balances")
        return str(answer.headers["etag"])


@contextmanager
def redis_running(program: str | None) -> Iterator[int | None]:
    """Run Redis, if it is installed, with nothing kept on disk."""
    if program is None:
        yield None
        return
    port = free_port()
    with running(program, "--port", str(port), "--save", "", "--bind", "127.0.0.1"):
        yield port


async def store_in_redis(query: Compared, port: int | None) -> None:
    """Put the answers of query into Redis."""
    if port is None:
        return
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with httpx.AsyncClient(headers=query.authorization, trust_env=False) as client:
        for number in range(ACCOUNTS):
            path = f"/v1/accounts/cus_{number}/balances"
            body = (await client.get(query.url + path)).raise_for_status().content
            parts = [b"SET", f"balances:cus_{number}".encode(), body]
            writer.write(b"*3\r\n" + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts))
            assert await reader.readline() == b"+OK\r\n"
    writer.close()


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    return port
