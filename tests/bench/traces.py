"""What traces cost ingest and query: off, on, and beside another checkout.

By hand, since it compares processes of one machine, in turn, for some minutes:

    cd tests
    python -m bench.traces [FOLDER of another checkout]

services/guides/tracing.md has the figures.
"""

import asyncio
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import httpx
from rich.console import Console
from rich.table import Table

from bench.load import run
from bench.test_http import Tenant, new_tenants
from freehold_local.ports import free_port
from freehold_local.services import service_url
from freehold_local.stack import Stack
from support.waiting import eventually

ROUNDS = 7
REQUESTS = 2_000
CONNECTIONS = 64


class Process(NamedTuple):
    """A process of a service that is measured."""

    variant: str
    service: str
    pid: int
    url: str


def variants(other: str | None, collector: str) -> dict[str, dict[str, str]]:
    """The variables of each variant, to be added to those of its service."""
    on = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector}
    sampled = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
    other_path = {} if other is None else {"other checkout": {"PYTHONPATH": sources(other)}}
    return {**other_path, "off": {}, "on, 1 % sampled": on | sampled, "on, all sampled": on}


def sources(folder: str) -> str:
    root = Path(folder).resolve()
    return os.pathsep.join(map(str, [root / "shared/src", *root.glob("services/*/src")]))


@contextmanager
def running(stack: Stack, service: str, variant: str, more: Mapping[str, str]) -> Iterator[Process]:
    """Run one more process of a service, with the variables of the stack's own and others."""
    own = Path(f"/proc/{stack.pid(service)}/environ").read_text().split("\0")
    environment = dict(line.split("=", 1) for line in own if line)
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", f"freehold_{service}"],
        env={**environment, **more, "FREEHOLD_PORT": str(port)},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Process(variant, service, process.pid, service_url(port))
    finally:
        process.terminate()
        process.wait()


def cpu_s(process: Process) -> float:
    """The CPU time that a process has used (proc(5), schedstat counts nanoseconds)."""
    tasks = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


async def is_ready(process: Process) -> None:
    async with httpx.AsyncClient(trust_env=False) as client:

        async def look() -> bool:
            try:
                return (await client.get(f"{process.url}/readyz")).is_success
            except httpx.TransportError:
                return False

        await eventually(look, f"{process.service}, {process.variant}, is ready")


def requests(tenant: Tenant, service: str) -> tuple[list[bytes], int]:
    if service == "ingest":
        return [tenant.event() for _ in range(REQUESTS)], 201
    return [tenant.balance(f"cus_{number % 5000}") for number in range(REQUESTS)], 200


async def measure(tenant: Tenant, processes: Sequence[Process]) -> None:
    """Load each process in turn, again and again, and show the medians."""
    for process in processes:
        await is_ready(process)
    cpu_us: dict[Process, list[float]] = defaultdict(list)
    per_s: dict[Process, list[float]] = defaultdict(list)
    for turn in range(ROUNDS + 1):
        for process in processes if turn % 2 else reversed(processes):
            sent, status = requests(tenant, process.service)
            before = cpu_s(process)
            result = await run(process.url, sent, connections=CONNECTIONS, status=status)
            # The first turn is the warm-up.
            if turn:
                cpu_us[process].append((cpu_s(process) - before) / REQUESTS * 1e6)
                per_s[process].append(result.per_s)
    table = Table("service", "traces", "CPU us a request", "ratio", "per s", "ratio")
    for process in processes:
        off = next(p for p in processes if p.service == process.service and p.variant == "off")
        table.add_row(
            process.service,
            process.variant,
            f"{statistics.median(cpu_us[process]):.0f}",
            f"{ratio(cpu_us[process], cpu_us[off]):.3f}",
            f"{statistics.median(per_s[process]):,.0f}",
            f"{ratio(per_s[process], per_s[off]):.3f}",
        )
    Console(width=100).print(table)


def ratio(values: Sequence[float], beside: Sequence[float]) -> float:
    """The median of the turns: what else the machine does changes from one to the next."""
    return statistics.median(a / b for a, b in zip(values, beside, strict=True))


class Discarding(BaseHTTPRequestHandler):
    """A collector that takes everything and keeps nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def collect(port: int) -> None:
    ThreadingHTTPServer(("127.0.0.1", port), Discarding).serve_forever()


async def compare(stack: Stack, other: str | None, collector: str) -> None:
    (tenant,) = await new_tenants(stack, 1)
    for service in ("ingest", "query"):
        # The accounts that are read must be there, and the projector must be at rest.
        await tenant.lags_s([], until_none=True)
        with ExitStack() as processes:
            started = [
                processes.enter_context(running(stack, service, name, more))
                for name, more in variants(other, collector).items()
            ]
            await measure(tenant, started)


def main() -> None:
    other = sys.argv[1] if len(sys.argv) > 1 else None
    port = free_port()
    # In a process of its own: its work is not the load's.
    collector = multiprocessing.Process(target=collect, args=(port,), daemon=True)
    collector.start()
    with tempfile.TemporaryDirectory() as folder:
        stack = Stack(Path(folder) / "stack", {}, ports="free")
        try:
            stack.up()
            asyncio.run(compare(stack, other, service_url(port)))
        finally:
            stack.discard()


if __name__ == "__main__":
    main()
