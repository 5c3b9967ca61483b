"""A tenant's database that is gone, silent or not ready: 503 in time, and only for that tenant."""

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from integration.query.conftest import serve
from integration.query.proxy import Proxy
from integration.query.tenants import Landlord, Tenant
from support.builders import new_event
from support.waiting import PATIENCE_S

TIMEOUT_S = 2
# What hangs goes on hanging for as long as the test takes.
PATIENT = {"database_timeout_s": 50.0, "request_timeout_s": PATIENCE_S}
PATHS = [
    "/v1/accounts/cus_1/balances",
    "/v1/accounts/cus_1/balances?consistency=strong",
    "/v1/accounts/cus_1/balances/USD",
    "/v1/balances",
    "/v1/events",
    "/v1/events/019ca9a8-5a00-7000-8000-0007c0a8d5e1",
    "/v1/transactions/019ca9a8-5a00-7000-8000-0007c0a8d5e1",
    "/v1/holds/019ca9a8-5a00-7000-8000-0007c0a8d5e1",
    "/v1/holds",
    "/v1/audit/head",
    "/v1/audit/verify",
    "/v1/audit/events",
    "/v1/export/journal?format=csv",
    "/v1/lag",
    "/v1/activity?bucket=day",
]


@pytest.fixture
async def far_tenant(landlord: Landlord, proxy: Proxy) -> AsyncIterator[Tenant]:
    """A tenant whose database query reaches through the proxy."""
    async with landlord.tenant() as tenant:
        await landlord.move(tenant, proxy.port)
        await tenant.append(new_event("cus_1", 5))
        await tenant.project()
        yield tenant


@pytest.fixture
async def far_query(landlord: Landlord, far_tenant: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(landlord.dsn(), far_tenant, database_timeout_s=TIMEOUT_S) as client:
        yield client


async def check_503(client: httpx.AsyncClient, path: str) -> None:
    began = time.monotonic()
    answer = await client.get(path)
    assert time.monotonic() - began < 2.5 * TIMEOUT_S
    assert answer.status_code == 503
    assert answer.json()["type"] in {"/problems/unavailable", "/problems/overloaded"}
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0


AT_ONCE = 5
# There is no such event, transaction or hold.
WELL = [200] * 5 + [404] * 3 + [200] * 7


async def statuses(client: httpx.AsyncClient) -> list[int]:
    answers: list[httpx.Response] = []
    # All at once they would wait for each other, on a busy machine beyond the deadline.
    for first in range(0, len(PATHS), AT_ONCE):
        paths = PATHS[first : first + AT_ONCE]
        answers += await asyncio.gather(*(client.get(path) for path in paths))
    return [answer.status_code for answer in answers]


async def check_200(client: httpx.AsyncClient) -> None:
    assert await statuses(client) == WELL


async def recovers(client: httpx.AsyncClient) -> None:
    """Wait until the database is tried again: one that just refused is left alone for a moment."""
    async with asyncio.timeout(PATIENCE_S):
        while await statuses(client) != WELL:  # noqa: ASYNC110 (as others do)
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("warm", [False, True])
async def test_a_database_that_refuses(
    far_query: httpx.AsyncClient, proxy: Proxy, warm: bool
) -> None:
    if warm:
        await check_200(far_query)
    await proxy.stop()
    await asyncio.gather(*(check_503(far_query, path) for path in PATHS * 20))
    await proxy.start()
    await recovers(far_query)


@pytest.mark.parametrize("warm", [False, True])
async def test_a_database_that_falls_silent(
    far_query: httpx.AsyncClient, proxy: Proxy, warm: bool
) -> None:
    if warm:
        await check_200(far_query)
    proxy.fall_silent()
    for _ in range(2):
        await asyncio.gather(*(check_503(far_query, path) for path in PATHS))
    proxy.speak()
    await recovers(far_query)


async def test_a_restarted_database_is_found_again(
    far_query: httpx.AsyncClient, far_tenant: Tenant
) -> None:
    await check_200(far_query)
    await far_tenant.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = $1 AND pid <> pg_backend_pid()",
        far_tenant.database,
    )
    await asyncio.sleep(0.05)
    await check_200(far_query)


async def test_a_database_that_is_not_ready(
    far_query: httpx.AsyncClient, far_tenant: Tenant
) -> None:
    role = f"{far_tenant.database}_query"
    await far_tenant.connection.execute("DROP FUNCTION balances(text [])")
    await check_503(far_query, PATHS[0])
    await far_tenant.connection.execute(f"ALTER ROLE {role} NOLOGIN")
    await far_tenant.connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", role
    )
    await asyncio.sleep(0.05)
    await check_503(far_query, PATHS[1])


async def test_a_locked_table_blocks_no_request(
    far_query: httpx.AsyncClient, far_tenant: Tenant
) -> None:
    async with far_tenant.connection.transaction():
        await far_tenant.connection.execute("LOCK TABLE account_balances IN ACCESS EXCLUSIVE MODE")
        await asyncio.gather(*(check_503(far_query, path) for path in PATHS[:4]))
    await check_200(far_query)


async def test_a_silent_database_does_not_stop_other_tenants(
    far_query: httpx.AsyncClient, far_tenant: Tenant, tenant: Tenant, proxy: Proxy
) -> None:
    await tenant.append(new_event("cus_1", 5))
    await tenant.project()
    await check_200(far_query)
    proxy.fall_silent()
    burst = [asyncio.create_task(far_query.get(path)) for path in PATHS * 20]
    await asyncio.sleep(0.05)
    began = time.monotonic()
    for path in PATHS[:5]:
        answer = await far_query.get(path, headers=tenant.authorization)
        assert answer.status_code == 200
    elapsed = time.monotonic() - began
    await asyncio.gather(*burst)
    assert elapsed < 4 * TIMEOUT_S


async def test_a_tenant_whose_reads_all_hang_does_not_stop_other_tenants(
    landlord: Landlord, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with serve(landlord.dsn(), tenant, **PATIENT) as query:
        # To know that there is no event, nothing that is locked here is read.
        await tenant.append(new_event("cus_1", 5))
        await other_tenant.append(new_event("cus_1", 5))
        await other_tenant.project()
        async with tenant.connection.transaction():
            await tenant.connection.execute(
                "LOCK TABLE account_balances, ledger_events, projection_checkpoint"
            )
            burst = [asyncio.create_task(query.get(path)) for path in PATHS * 5]
            await asyncio.sleep(0.2)
            answers = [
                await query.get(path, headers=other_tenant.authorization) for path in PATHS[:5]
            ]
            assert not any(task.done() for task in burst)
        assert [answer.status_code for answer in answers] == [200] * 5
        assert {answer.status_code for answer in await asyncio.gather(*burst)} <= {200, 404}


async def test_a_hanging_read_does_not_delay_other_tenants_for_long(
    landlord: Landlord, tenant: Tenant, other_tenant: Tenant
) -> None:
    """Even with a single place in flight."""
    await other_tenant.append(new_event("cus_1", 5))
    await other_tenant.project()
    async with serve(landlord.dsn(), tenant, transactions_in_flight_max=1, **PATIENT) as query:
        async with tenant.connection.transaction():
            await tenant.connection.execute("LOCK TABLE account_balances")
            hanging = asyncio.create_task(query.get(PATHS[0]))
            await asyncio.sleep(0.2)
            answer = await query.get(PATHS[0], headers=other_tenant.authorization)
            assert answer.status_code == 200
            assert not hanging.done()
        await hanging


async def test_reads_that_still_connect_do_not_delay_others(
    landlord: Landlord, far_tenant: Tenant, tenant: Tenant, proxy: Proxy
) -> None:
    """Even with a single place in flight."""
    await tenant.append(new_event("cus_1", 5))
    await tenant.project()
    async with serve(landlord.dsn(), tenant, transactions_in_flight_max=1) as query:
        assert (await query.get(PATHS[0])).status_code == 200
        proxy.fall_silent()
        burst = [
            asyncio.create_task(query.get(path, headers=far_tenant.authorization)) for path in PATHS
        ]
        await asyncio.sleep(0.2)
        for path in PATHS[:5]:
            assert (await query.get(path)).status_code == 200
        assert not any(task.done() for task in burst)
        proxy.speak()
        await asyncio.gather(*burst)
