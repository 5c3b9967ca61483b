"""Live streams while services and servers come and go, and with a thousand clients."""

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from support.clients import Tenant, event_body
from support.live import Live, listening
from support.machine import Machine

CLIENTS = 1_000
EACH_KIB_MAX = 100
STOP_S = 5


async def restore(tenant: Tenant, to: datetime) -> None:
    freehold = tenant.freehold
    await freehold.end_of(await freehold.operator.restore_tenant(tenant.tenant_id, to=to))


async def test_a_restore_restarts_streams_and_those_that_resume(tenant: Tenant) -> None:
    await tenant.append(account_id="cus_1", amount_minor=1)
    await asyncio.sleep(0.01)
    instant = datetime.now(UTC)
    async with listening(tenant, snapshot="true") as live:
        await tenant.append(account_id="cus_2", amount_minor=2)
        await live.shows({("cus_1", "USD"): 1, ("cus_2", "USD"): 2})
        before = live.last_id
        await restore(tenant, instant)
        await live.shows({("cus_1", "USD"): 1})
        await tenant.append(account_id="cus_3", amount_minor=3)
        await live.shows({("cus_1", "USD"): 1, ("cus_3", "USD"): 3})
        assert live.kinds.count("restart") == 1
    page = Live(last_id=before, balances={("cus_2", "USD"): 2})
    async with listening(tenant, {"Last-Event-ID": before}, into=page):
        await page.shows({("cus_1", "USD"): 1, ("cus_3", "USD"): 3})


async def test_changes_come_when_the_broker_is_back(machine: Machine, tenant: Tenant) -> None:
    async with listening(tenant) as live:
        async with machine.without("rabbitmq"):
            await tenant.append(amount_minor=1)
            answer = await machine.freehold.ask("GET", f"{machine.freehold.addresses.query}/readyz")
            assert answer.status_code == 200, answer.text
        await live.shows({("cus_42", "USD"): 1})
        # And the doorbells of the new link are heard.
        await tenant.append(amount_minor=1)
        await live.shows({("cus_42", "USD"): 2})
        assert not live.has_ended


async def test_streams_end_at_once_when_query_stops_and_resume(
    machine: Machine, tenant: Tenant
) -> None:
    async with listening(tenant) as live:
        await tenant.append(amount_minor=1)
        await live.shows({("cus_42", "USD"): 1})
        begun = time.monotonic()
        async with machine.without("query"):
            assert time.monotonic() - begun < STOP_S
            await live.until(lambda live: live.has_ended, "the end")
            await tenant.append(amount_minor=1)
    async with listening(tenant, {"Last-Event-ID": live.last_id}, into=live):
        await live.shows({("cus_42", "USD"): 2})


async def test_a_stream_resumes_after_a_crash_of_query(machine: Machine, tenant: Tenant) -> None:
    async with listening(tenant) as live:
        await tenant.append(amount_minor=1)
        await live.shows({("cus_42", "USD"): 1})
        await machine.replace("query", signal.SIGKILL)
        await live.until(lambda live: live.has_ended, "the end")
    await tenant.append(amount_minor=1)
    async with listening(tenant, {"Last-Event-ID": live.last_id}, into=live):
        await live.shows({("cus_42", "USD"): 2})


def resident_kib(pid: int | None) -> int:
    """Memory of a process (proc(5))."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmRSS")]
    return int(line.split()[1])


async def open_raw(tenant: Tenant) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a stream with less work than an ordinary client, up to its first id."""
    address = urlsplit(tenant.freehold.addresses.query)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"GET /v1/stream HTTP/1.1\r\nhost: test\r\nauthorization: Bearer {tenant.api_key}\r\n\r\n"
    )
    writer.write(head.encode())
    await reader.readuntil(b"\nid: ")
    return reader, writer


async def test_a_thousand_clients_of_one_process_cost_little_memory(
    machine: Machine, tenant: Tenant
) -> None:
    await tenant.append(account_id="cus_0")
    async with machine.alone("query"), AsyncExitStack() as stack:
        async with listening(tenant):
            pid = await machine.pid("query")
            before = resident_kib(pid)
        clients: list[asyncio.StreamReader] = []
        for _ in range(CLIENTS // 100):
            opened = await asyncio.gather(*(open_raw(tenant) for _ in range(100)))
            for reader, writer in opened:
                stack.callback(writer.close)
                clients.append(reader)
        assert (await tenant.get("/stream")).status_code == 429

        async def hears(reader: asyncio.StreamReader, account_id: str) -> None:
            await reader.readuntil(f'"account_id":"{account_id}"'.encode())

        opened_kib = resident_kib(pid)
        for number in range(1, 6):
            await tenant.append(account_id=f"cus_{number}")
            await asyncio.gather(*(hears(reader, f"cus_{number}") for reader in clients))
        # None reads any more; what changes is kept once, and not for each.
        for _ in range(20):
            await tenant.append_batch([event_body(account_id=f"cus_{n}") for n in range(200)])
        await tenant.caught_up()
        assert resident_kib(pid) - opened_kib < CLIENTS * EACH_KIB_MAX
        assert opened_kib - before < CLIENTS * EACH_KIB_MAX
        assert (await tenant.get("/lag")).status_code == 200
