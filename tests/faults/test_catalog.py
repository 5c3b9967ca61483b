"""The catalog out of reach: whom the services know, they go on serving."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from support.answers import problem
from support.clients import Freehold, Tenant, event_body
from support.machine import CATALOG_DATABASE, Machine
from support.waiting import eventually

SERVICES = ("ingest", "projector", "query")


# Without the catalog a process serves the tenants that it knows.
@pytest.mark.usefixtures("one_projector")
async def test_known_tenants_work_without_the_catalog(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    acknowledged = [await tenant.append(metadata={"key": "before"})]
    await tenant.caught_up()
    unknown = await other_tenant.limited_to("ingest", "read")
    async with without_catalog(machine):
        for number in range(10):
            acknowledged.append(await tenant.append(metadata={"key": f"during-{number}"}))
            assert await tenant.balances("cus_42", consistency="strong") == {
                "USD": 2000 * (number + 2)
            }
        assert (await tenant.caught_up()).head_seq == 11
        # A key that was never seen cannot be looked up: its bearer is asked to come again.
        problem(await unknown.post("/events", event_body()), "unavailable")
        problem(await unknown.get("/lag"), "unavailable")
    acknowledged.append(await tenant.append(key="after"))
    assert (await unknown.append()).seq == 1
    await machine.assert_whole(tenant, acknowledged)
    await machine.assert_whole(other_tenant, [])


async def test_a_key_revoked_during_a_catalog_outage_is_refused_after_it(
    machine: Machine, tenant: Tenant
) -> None:
    bearer = await tenant.limited_to("ingest", "read")
    await bearer.append()
    await bearer.lag()
    async with without_catalog(machine):
        await bearer.revoke()
    await bearer.shut_out()


@asynccontextmanager
async def without_catalog(machine: Machine) -> AsyncIterator[None]:
    """Shut three services out of the catalog for a while; tenants' databases stay open."""
    roles = ", ".join(f"freehold_{service}" for service in SERVICES)
    async with machine.catalog() as superuser:
        await superuser.execute(f"REVOKE CONNECT ON DATABASE {CATALOG_DATABASE} FROM {roles}")
        try:
            await superuser.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = $1 AND usename = ANY ($2::text [])",
                CATALOG_DATABASE,
                [f"freehold_{service}" for service in SERVICES],
            )
            await eventually_all(machine.freehold, 503)
            yield
        finally:
            await superuser.execute(f"GRANT CONNECT ON DATABASE {CATALOG_DATABASE} TO {roles}")
        await eventually_all(machine.freehold, 200)


async def eventually_all(freehold: Freehold, status: int) -> None:
    """Wait until every service that was shut out, or let in again, says so."""
    for service in SERVICES:

        async def said(url: str = f"{freehold.services[service]}/readyz") -> bool:
            return (await freehold.ask("GET", url)).status_code == status

        await eventually(said, f"{service} answers {status}")
