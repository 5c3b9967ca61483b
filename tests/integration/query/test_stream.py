"""Live streams of query as it is, on a port of this machine; there is no broker."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from freehold.http import connections
from freehold_query.stream import views
from integration.query.proxy import Proxy
from integration.query.service import Service, change, running
from integration.query.tenants import Landlord, Tenant
from support.live import listening_at
from support.waiting import eventually

MANY = 200
"""Balances: some 90 KB of frames."""


@pytest.fixture
async def service(landlord: Landlord, tenant: Tenant) -> AsyncIterator[Service]:
    choices: dict[str, Any] = {
        "stream_heartbeat_s": 0.2,
        "streams_per_tenant_max": 4,
        "streams_max": 5,
    }
    async with running(landlord.dsn(), tenant, requests_in_flight_max=3, **choices) as service:
        yield service


async def change_many(tenant: Tenant) -> None:
    await change(tenant, *[f"cus_{number}" for number in range(MANY)])


async def test_without_a_broker_changes_come_within_about_a_second(service: Service) -> None:
    async with service.listening() as live:
        await live.until(lambda live: bool(live.last_id), "the beginning")
        begun = time.monotonic()
        await change(service.tenant, "cus_1")
        await live.shows({("cus_1", "USD"): 1})
        assert time.monotonic() - begun < 3


async def test_a_silent_stream_has_heartbeats_whose_ids_move_on(service: Service) -> None:
    await change(service.tenant, "other")
    async with service.listening(account_prefix="cus_") as live:
        await live.until(lambda live: live.comments >= 4, "heartbeats")
        before = live.last_id
        await change(service.tenant, "other")
        await live.until(lambda live: live.last_id != before, "an id of later")
        assert live.events == []


async def test_streams_have_limits_of_their_own(
    landlord: Landlord, other_tenant: Tenant, service: Service
) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(service.listening())
        full = await service.get("/v1/stream")
        assert (full.status_code, full.json()["type"]) == (429, "/problems/too-many-requests")
        assert int(full.headers["retry-after"]) > 0
        theirs = Service(service.url, service.server, service.running, other_tenant)
        async with theirs.listening():
            full = await theirs.get("/v1/stream")
            assert (full.status_code, full.json()["type"]) == (503, "/problems/overloaded")
            assert int(full.headers["retry-after"]) > 0
        # More are open than requests may be in flight.
        assert (await service.get("/v1/lag")).status_code == 200
    await service.have_ended()
    async with service.listening():
        assert await service.streams() == 1


async def test_streams_end_at_once_when_the_service_stops(service: Service) -> None:
    async with service.listening() as one, service.listening() as other:
        begun = time.monotonic()
        service.server.should_exit = True
        await service.running
        assert time.monotonic() - begun < 3
        for live in (one, other):
            await live.until(lambda live: live.has_ended, "the end")
            assert live.events == []


async def test_a_client_that_reads_nothing_is_disconnected(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "UNREAD_TIMEOUT_S", 0.5)
    await change_many(service.tenant)
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        address = httpx.URL(service.url)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, (address.host, address.port))
        head = f"GET /v1/stream?snapshot=true HTTP/1.1\r\nhost: test\r\n{_header(service)}\r\n\r\n"
        await loop.sock_sendall(deaf, head.encode())
        async with service.listening(snapshot="true") as live:
            rounds = 0

            async def cut_off() -> bool:
                nonlocal rounds
                rounds += 1
                await change_many(service.tenant)
                return await service.streams() == 1

            await eventually(cut_off, "the deaf client is cut off")
            # Another client of the same accounts does not suffer.
            await live.shows({(f"cus_{n}", "USD"): rounds + 1 for n in range(MANY)})


async def test_who_misses_what_is_kept_reads_it_from_the_database(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "_BYTES_MAX", 1_000)
    async with service.listening() as live, service.listening(account_prefix="cus_1") as some:
        for _ in range(3):
            await change_many(service.tenant)
        await live.shows({(f"cus_{n}", "USD"): 3 for n in range(MANY)})
        await some.shows({(f"cus_{n}", "USD"): 3 for n in range(MANY) if str(n)[0] == "1"})


async def test_a_restored_ledger_restarts_its_streams(service: Service) -> None:
    await change(service.tenant, "cus_1", "cus_2")
    async with service.listening() as changes, service.listening(snapshot="true") as everything:
        await change(service.tenant, "cus_1")
        await changes.shows({("cus_1", "USD"): 2})
        await everything.shows({("cus_1", "USD"): 2, ("cus_2", "USD"): 1})
        last_id = changes.last_id
        await service.tenant.connection.execute("SELECT begin_epoch(2)")
        # Both are told everything: nothing that they knew before counts.
        for live in (changes, everything):
            await live.until(lambda live: "restart" in live.kinds, "the restart")
            await live.shows({("cus_1", "USD"): 2, ("cus_2", "USD"): 1})
            assert live.kinds.count("restart") == 1
        await change(service.tenant, "cus_3")
        await changes.shows({("cus_1", "USD"): 2, ("cus_2", "USD"): 1, ("cus_3", "USD"): 1})
    headers = {**service.tenant.authorization, "Last-Event-ID": last_id}
    async with listening_at(service.url, headers) as late:
        await late.shows({("cus_1", "USD"): 2, ("cus_2", "USD"): 1, ("cus_3", "USD"): 1})
        assert late.kinds[0] == "restart"
        assert late.events[0].data == {"epoch": 2}


async def test_streams_outlast_a_lost_database(landlord: Landlord, proxy: Proxy) -> None:
    async with landlord.tenant() as tenant:
        await landlord.move(tenant, proxy.port)
        async with (
            running(landlord.dsn(), tenant, stream_heartbeat_s=0.2) as service,
            service.listening() as live,
        ):
            await change(tenant, "cus_1")
            await live.shows({("cus_1", "USD"): 1})
            await proxy.stop()
            await change(tenant, "cus_1")
            refused = await service.get("/v1/lag")
            assert refused.status_code == 503
            comments = live.comments
            await live.until(lambda live: live.comments > comments, "a sign of life")
            await proxy.start()
            await live.shows({("cus_1", "USD"): 2})
            assert not live.has_ended


async def test_a_lost_database_refuses_new_streams(landlord: Landlord, proxy: Proxy) -> None:
    async with landlord.tenant() as tenant:
        await landlord.move(tenant, proxy.port)
        async with running(landlord.dsn(), tenant) as service:
            await proxy.stop()
            answer = await service.get("/v1/stream")
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
            await proxy.start()

            async def opens() -> bool:
                return await _opens(service)

            await eventually(opens, "streams are opened again")
            await service.have_ended()


async def _opens(service: Service) -> bool:
    try:
        async with service.listening():
            return True
    except AssertionError:
        return False


def _header(service: Service) -> str:
    ((name, value),) = service.tenant.authorization.items()
    return f"{name}: {value}"
