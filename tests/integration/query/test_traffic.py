"""What query counts for its tenants, and writes to the catalog while it runs and as it ends."""

import asyncio
import time

import pytest

from integration.query.conftest import serve
from integration.query.proxy import Proxy
from integration.query.tenants import Landlord, Tenant
from support.builders import new_event
from support.waiting import eventually


async def test_requests_and_the_slowest_reads_are_counted(
    landlord: Landlord, tenant: Tenant, other_tenant: Tenant
) -> None:
    await tenant.append(new_event("cus_1", 5))
    await tenant.project()
    async with serve(landlord.dsn(), tenant) as query:
        for path in ("/v1/accounts/cus_1/balances", "/v1/balances", "/v1/accounts/cus_2/balances"):
            await query.get(path)
    found = await landlord.usage(tenant)
    assert (found["usage"]["requests"], found["usage"]["errors"]) == (3, 0)
    assert found["usage"]["services_s"] > 0
    slowest = {read["call"]: read for read in found["slowest_reads"]}
    assert set(slowest) == {"balances", "list_balances"}
    assert found["usage"]["slowest_read_s"] == max(read["seconds"] for read in slowest.values())
    assert slowest["balances"]["rows"] in (0, 1)
    assert (await landlord.usage(other_tenant))["usage"]["requests"] == 0


async def test_the_slowest_read_of_a_day_stays(landlord: Landlord, tenant: Tenant) -> None:
    async with serve(landlord.dsn(), tenant) as query:
        await query.get("/v1/balances")
    (first,) = (await landlord.usage(tenant))["slowest_reads"]
    async with serve(landlord.dsn(), tenant) as query:
        # The first read connects, and is slow.
        for _ in range(5):
            await query.get("/v1/balances")
    found = await landlord.usage(tenant)
    (second,) = found["slowest_reads"]
    assert second["seconds"] >= first["seconds"]
    assert found["usage"]["requests"] == 6


async def test_what_the_service_could_not_serve_is_an_error(
    landlord: Landlord, tenant: Tenant, proxy: Proxy
) -> None:
    await landlord.move(tenant, proxy.port)
    proxy.fall_silent()
    async with serve(landlord.dsn(), tenant, database_timeout_s=1) as query:
        assert (await query.get("/v1/balances")).status_code == 503
        assert (await query.get("/v1/balances?limit=none")).status_code == 422
    found = await landlord.usage(tenant)
    assert (found["usage"]["requests"], found["usage"]["errors"]) == (2, 1)
    assert found["slowest_reads"][0]["seconds"] >= 1


async def test_counts_are_written_while_the_service_runs(
    landlord: Landlord, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold.tenants.access.WRITE_EVERY_S", 0.1)
    async with serve(landlord.dsn(), tenant) as query:
        await query.get("/v1/balances")

        async def written() -> bool:
            return bool((await landlord.usage(tenant))["usage"]["requests"] == 1)

        await eventually(written, "the request is written")


async def test_idle_time_is_charged_to_nobody(
    landlord: Landlord, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold.tenants.access.WRITE_EVERY_S", 0.1)
    async with serve(landlord.dsn(), tenant) as query:
        busy_until_s = time.process_time() + 3
        while time.process_time() < busy_until_s:
            pass
        # Long enough to write nothing, several times.
        await asyncio.sleep(1)
        await query.get("/v1/balances")
    assert (await landlord.usage(tenant))["usage"]["services_s"] < 3


async def test_counts_wait_for_a_catalog_that_is_away(
    landlord: Landlord, tenant: Tenant, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("freehold.tenants.access.WRITE_EVERY_S", 0.1)
    async with serve(landlord.dsn(port=proxy.port), tenant) as query:

        async def has_catalog() -> bool:
            return (await query.get("/readyz")).is_success

        async def misses_catalog() -> bool:
            return not await has_catalog()

        await eventually(has_catalog, "the catalog is there")
        assert (await query.get("/v1/balances")).is_success

        async def written() -> int:
            return int((await landlord.usage(tenant))["usage"]["requests"])

        await eventually(written, "the first request is written")
        await proxy.stop()
        await eventually(misses_catalog, "the catalog is missed")
        for _ in range(2):
            assert (await query.get("/v1/balances")).is_success
        # Long enough for some writes to fail.
        await asyncio.sleep(1)
        assert await written() == 1
        await proxy.start()

        async def all_written() -> bool:
            return await written() == 3

        await eventually(all_written, "the other requests are written")
