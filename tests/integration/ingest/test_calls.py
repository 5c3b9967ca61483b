"""Short calls beside append: a tenant whose calls are slow is the only one who waits for them."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from freehold.contracts.errors import DomainError, Overloaded, Unavailable
from freehold.ledger import rules
from freehold.tenants.connections import TenantConnections
from freehold.tenants.directory import Directory
from freehold.tenants.homes import Home
from freehold_ingest.calls import Calls
from integration.query.tenants import Landlord, Tenant
from support.locks import until_one_waits
from support.waiting import PATIENCE_S


def connections_with(timeout_s: float) -> TenantConnections:
    return TenantConnections(
        application="test", connections_max=20, per_tenant_max=10, idle_s=60, timeout_s=timeout_s
    )


async def home_of(directory: Directory, tenant: Tenant) -> Home:
    home = await directory.home(tenant.tenant_id)
    assert home is not None
    return home


async def close(calls: Calls, home: Home) -> None:
    async with calls.connection(home, "close_event_types") as connection:
        await rules.close_event_types(connection, closed=False)


async def test_a_busy_ledger_does_not_delay_other_tenants(
    directory: Directory, tenants: list[Tenant]
) -> None:
    connections = connections_with(timeout_s=PATIENCE_S)
    calls = Calls(connections)
    busy, idle = [await home_of(directory, tenant) for tenant in tenants[:2]]
    async with asyncio.TaskGroup() as group, tenants[0].connection.transaction():
        await tenants[0].connection.execute("SELECT FROM ledger_head FOR UPDATE")
        waiting = [group.create_task(close(calls, busy)) for _ in range(20)]
        await until_one_waits(tenants[0].connection)
        await close(calls, idle)
        assert not any(task.done() for task in waiting)
    # All that waited have been served.
    assert all(task.done() for task in waiting)
    await connections.close()


async def test_more_busy_ledgers_than_permits_do_not_delay_other_tenants(
    directory: Directory, tenants: list[Tenant], landlord: Landlord
) -> None:
    connections = connections_with(timeout_s=PATIENCE_S)
    calls = Calls(connections)
    idle = await home_of(directory, tenants[0])
    async with asyncio.TaskGroup() as group, AsyncExitStack() as held:
        for _ in range(5):
            tenant = await held.enter_async_context(landlord.tenant())
            busy = await home_of(directory, tenant)
            await held.enter_async_context(tenant.connection.transaction())
            await tenant.connection.execute("SELECT FROM ledger_head FOR UPDATE")
            waiting = group.create_task(close(calls, busy))
            await until_one_waits(tenant.connection)
        await close(calls, idle)
        assert not waiting.done()
    await connections.close()


async def test_a_ledger_that_does_not_answer_in_time_or_at_all_is_named(
    directory: Directory, tenants: list[Tenant]
) -> None:
    connections = connections_with(timeout_s=2)
    calls = Calls(connections)
    home = await home_of(directory, tenants[0])
    async with tenants[0].connection.transaction():
        await tenants[0].connection.execute("SELECT FROM ledger_head FOR UPDATE")
        with pytest.raises(DomainError) as late:
            await close(calls, home)
    # Nothing listens on the port of the reserved service "tcpmux".
    with pytest.raises(DomainError) as lost:
        await close(calls, replace(home, port=1))
    for raised, kind in ((late, Overloaded), (lost, Unavailable)):
        assert isinstance(raised.value, kind)
        assert raised.value.retry_after_s
    await close(calls, home)
    await connections.close()
