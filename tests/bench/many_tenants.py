"""A thousand tenants on one machine: what they cost to make, to keep, and after a crash.

It takes too long for `make bench`, and goes step by step, with the data kept in between:

    cd tests
    python -m bench.many_tenants make FOLDER --tenants 1000
    python -m bench.many_tenants measure FOLDER [--set autovacuum_naptime=10min]
    python -m bench.many_tenants crash FOLDER --set recovery_init_sync_method=syncfs
    python -m bench.many_tenants discard FOLDER

services/guides/operating.md has the figures.
"""

import argparse
import asyncio
import itertools
import json
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import asyncpg
import httpx
from rich.console import Console

from bench.load import request_bytes
from bench.operators import operator
from bench.pacing import run_paced
from freehold_local.postgres import PrivatePostgres
from freehold_local.processes import processes_of
from freehold_local.stack import Stack

ACTIVE = 5
ACTIVE_PER_S = 100
ACTIVE_S = 20
MADE_AT_ONCE = 4
MADE_BEFORE_CRASH = 30
SETTLE_S = 30
IDLE_S = 60
LOOKS = 200
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
KEYS = "active.json"

out = Console(width=110)
_numbers = itertools.count(time.time_ns())


@contextmanager
def running(folder: Path) -> Iterator[Stack]:
    stack = Stack(folder, {}, ports="free")
    stack.up()
    try:
        yield stack
    finally:
        stack.down()


@asynccontextmanager
async def superuser(stack: Stack) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    url = PrivatePostgres(stack.state / "postgres").url
    connection = await asyncpg.connect(url, timeout=30, command_timeout=120)
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def make_tenant(client: httpx.AsyncClient) -> str:
    name = f"many-{next(_numbers)}"
    answer = await client.post("/v1/tenants", json={"tenant_id": name, "name": name})
    answer.raise_for_status()
    key: str = answer.json()["api_key"]
    return key


async def make(stack: Stack, tenants: int) -> None:
    """Make the few who will be active, see how they fare alone, and make all the others."""
    async with operator(stack) as client:
        keys = [await make_tenant(client) for _ in range(ACTIVE)]
        (stack.state / KEYS).write_text(json.dumps(keys))
        await show_active(stack, "active tenants alone")
        disk_before = disk_bytes(stack)
        left = iter(range(tenants - ACTIVE))
        latencies_s: list[float] = []
        started = time.perf_counter()

        async def make_some() -> None:
            for number in left:
                begun = time.perf_counter()
                await make_tenant(client)
                latencies_s.append(time.perf_counter() - begun)
                if number % 100 == 0:
                    out.print(f"  {number} after {time.perf_counter() - started:.0f} s")

        await asyncio.gather(*(make_some() for _ in range(MADE_AT_ONCE)))
        seconds = time.perf_counter() - started
    out.print(
        f"{len(latencies_s)} tenants made in {seconds:.0f} s, {MADE_AT_ONCE} at once:"
        f" {len(latencies_s) / seconds:.1f}/s, p50 {at(0.5, latencies_s):.0f} ms,"
        f" p99 {at(0.99, latencies_s):.0f} ms"
    )
    grown = disk_bytes(stack) - disk_before
    out.print(
        f"disk: {grown / 2**30:.2f} GiB more, {grown / 2**20 / len(latencies_s):.1f} MiB each"
    )


async def measure(stack: Stack, settings: Sequence[str]) -> None:
    """Measure the cost of all of them while idle, and while a few are asked."""
    async with superuser(stack) as connection:
        await set_settings(connection, settings)
        count = await connection.fetchval("SELECT count(*) FROM pg_database")
        sizes = await connection.fetch(
            "SELECT pg_database_size(oid) FROM pg_database WHERE datname ~ '^fh_'"
        )
    mean = sum(row[0] for row in sizes) / len(sizes)
    files = int(run("sh", "-c", f"find {stack.state}/postgres/data/base | wc -l"))
    out.print(
        f"{count} databases of {mean / 2**20:.2f} MiB and {files / count:.0f} files;"
        f" data folder {disk_bytes(stack) / 2**30:.2f} GiB"
    )
    await asyncio.sleep(SETTLE_S)
    before, started = cpu_s(stack), time.perf_counter()
    await asyncio.sleep(IDLE_S)
    seconds = time.perf_counter() - started
    used = {name: (spent - before[name]) / seconds for name, spent in cpu_s(stack).items()}
    out.print(f"idle CPU, cores: {sum(used.values()):.3f} in all;", named(used, "{:.3f}"))
    memory = memory_mib(stack)
    out.print(f"memory, MiB: {sum(memory.values()):.0f} in all;", named(memory, "{:.0f}"))
    await show_management(stack)
    await show_active(stack, f"active tenants among {count} databases")


async def show_management(stack: Stack) -> None:
    async with operator(stack) as client:
        pages: list[float] = []
        details: list[float] = []
        listed = (await client.get("/v1/tenants", params={"limit": 1000})).json()["data"]
        for number in range(LOOKS):
            tenant_id = listed[number * 7919 % len(listed)]["tenant_id"]
            for path, latencies in (
                ("/v1/tenants?limit=1000" if number % 10 == 0 else "/v1/tenants", pages),
                (f"/v1/tenants/{tenant_id}", details),
            ):
                begun = time.perf_counter()
                (await client.get(path)).raise_for_status()
                latencies.append(time.perf_counter() - begun)
    out.print(
        f"GET /v1/tenants p50 {at(0.5, pages):.1f} ms, p99 (1,000 on a page)"
        f" {at(0.99, pages):.1f} ms; GET /v1/tenants/{{id}} p50 {at(0.5, details):.1f} ms,"
        f" p99 {at(0.99, details):.1f} ms"
    )


async def show_active(stack: Stack, name: str) -> None:
    """Have a few tenants write and read, and say how long they are kept waiting."""
    keys: list[str] = json.loads((stack.state / KEYS).read_text())
    event = {
        "account_id": "cus_42",
        "event_type": "CHARGE",
        "amount_minor": 2000,
        "currency": "USD",
    }

    def post(number: int) -> bytes:
        headers = {
            "authorization": f"Bearer {keys[number % ACTIVE]}",
            "idempotency-key": str(number),
        }
        return request_bytes("POST", "/v1/events", headers, json.dumps(event).encode())

    def get(number: int) -> bytes:
        headers = {"authorization": f"Bearer {keys[number % ACTIVE]}"}
        return request_bytes("GET", "/v1/accounts/cus_42/balances", headers)

    environment = stack.env()
    for seconds in (3, ACTIVE_S):
        posts, gets = await asyncio.gather(
            *(
                run_paced(
                    environment[url],
                    map(request, _numbers),
                    per_s=ACTIVE_PER_S,
                    seconds=seconds,
                    connections=16,
                )
                for url, request in (("FREEHOLD_INGEST_URL", post), ("FREEHOLD_QUERY_URL", get))
            )
        )
    out.print(
        f"{ACTIVE} {name}, {ACTIVE_PER_S} events and {ACTIVE_PER_S} reads a second:"
        f" POST p50 {at(0.5, posts.latencies_s):.2f} ms, p99 {at(0.99, posts.latencies_s):.2f} ms;"
        f" GET p50 {at(0.5, gets.latencies_s):.2f} ms, p99 {at(0.99, gets.latencies_s):.2f} ms;"
        f" answers {dict(posts.statuses + gets.statuses)}"
    )


async def crash(folder: Path, settings: Sequence[str]) -> None:
    """Kill everything at work, forget what the machine has in memory, and start Postgres."""
    stack = Stack(folder, {}, ports="free")
    stack.up()
    async with superuser(stack) as connection:
        await set_settings(connection, settings)
    await show_active(stack, "active tenants before the crash")
    async with operator(stack) as client:
        for _ in range(MADE_BEFORE_CRASH):
            await make_tenant(client)
    while pids := processes_of(stack.state):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # Whatever was killed is gone only when its parent has seen it.
        await asyncio.sleep(2)
    with suppress(subprocess.CalledProcessError):
        # As after a power cut. Only root may; others find what they had in memory.
        run("sh", "-c", "echo 3 > /proc/sys/vm/drop_caches")
    postgres = PrivatePostgres(stack.state / "postgres", owner=stack.state)
    started = time.perf_counter()
    await asyncio.to_thread(postgres.start)
    seconds = time.perf_counter() - started
    log = (postgres.folder / "log").read_text().splitlines()
    await asyncio.to_thread(postgres.stop)
    out.print(f"Postgres answers {seconds:.1f} s after its start, with {' '.join(settings)}")
    for line in log[-60:]:
        if any(word in line for word in ("syncing", "redo", "ready to accept", "interrupted")):
            out.print("  " + line)


async def set_settings(
    connection: "asyncpg.Connection[asyncpg.Record]", settings: Sequence[str]
) -> None:
    for setting in settings:
        name, _, value = setting.partition("=")
        await connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
    await connection.execute("SELECT pg_reload_conf()")
    if settings:
        out.print("Postgres with", *settings)


def at(share: float, latencies_s: Sequence[float]) -> float:
    """The milliseconds that this share stayed below."""
    ordered = sorted(latencies_s)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


def disk_bytes(stack: Stack) -> int:
    return int(run("du", "-sb", f"{stack.state}/postgres/").split()[0])


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def groups(stack: Stack) -> dict[int, str]:
    """Which program each process of the stack belongs to."""
    found = {}
    for pid in processes_of(stack.state):
        with suppress(OSError):
            command = (Path("/proc") / str(pid) / "cmdline").read_text().replace("\0", " ")
            known = (
                "postgres",
                "freehold-tenant-manager",
                "freehold-ingest",
                "freehold-projector",
                "freehold-query",
            )
            other = "rabbitmq" if "beam" in command or "rabbit" in command else "others"
            found[pid] = next((name for name in known if name in command), other)
    return found


def cpu_s(stack: Stack) -> dict[str, float]:
    """The seconds of CPU that each program has used; what has ended counts with its parent."""
    spent: dict[str, float] = {}
    for pid, name in groups(stack).items():
        with suppress(OSError):
            fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
            ticks = sum(int(field) for field in fields[11:15])
            spent[name] = spent.get(name, 0.0) + ticks / TICKS_PER_S
    return spent


def memory_mib(stack: Stack) -> dict[str, float]:
    """The memory of each program; what several share is counted once."""
    held: dict[str, float] = {}
    for pid, name in groups(stack).items():
        with suppress(OSError):
            for line in (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    held[name] = held.get(name, 0.0) + int(line.split()[1]) / 1024
    return held


def named(values: dict[str, float], form: str) -> str:
    return ", ".join(f"{name} {form.format(value)}" for name, value in sorted(values.items()))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("step", choices=("make", "measure", "crash", "discard"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--set", action="append", default=[], help="a setting of Postgres")
    chosen = parser.parse_args()
    match chosen.step:
        case "make":
            with running(chosen.folder) as stack:
                asyncio.run(make(stack, chosen.tenants))
        case "measure":
            with running(chosen.folder) as stack:
                asyncio.run(measure(stack, chosen.set))
        case "crash":
            asyncio.run(crash(chosen.folder, chosen.set))
        case "discard":
            Stack(chosen.folder, {}, ports="free").discard()


if __name__ == "__main__":
    main()
