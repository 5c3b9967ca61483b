"""Short calls beside append: a tenant whose calls are slow is the only one who waits for them."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

import pytest

from freehold.contracts.problems import OVERLOADED, UNAVAILABLE, Problem
from freehold.ledger import rules
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.directory import Directory
from freehold.tenancy.homes import Home
from freehold_ingest.calls import Calls
from integration.query.tenants import Landlord, Tenant
from support.waiting import eventually

# For what takes no time; generous, as the machine may have other things to do.
AT_ONCE_S = 5


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


async def blocked(tenant: Tenant, watcher: Tenant) -> bool:
    # Seen from elsewhere: a transaction goes on seeing what it saw at first.
    sessions = await watcher.connection.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'",
        tenant.database,
    )
    return bool(sessions)


async def test_a_tenant_whose_ledger_is_busy_keeps_nobody_else_waiting(
    directory: Directory, tenants: list[Tenant]
) -> None:
    connections = connections_with(timeout_s=10)
    calls = Calls(connections)
    busy, idle = [await home_of(directory, tenant) for tenant in tenants[:2]]
    async with asyncio.TaskGroup() as group, tenants[0].connection.transaction():
        await tenants[0].connection.execute("SELECT FROM ledger_head FOR UPDATE")
        waiting = [group.create_task(close(calls, busy)) for _ in range(20)]
        await eventually(partial(blocked, *tenants[:2]), "calls wait for the ledger")
        async with asyncio.timeout(AT_ONCE_S):
            await close(calls, idle)
        assert not any(task.done() for task in waiting)
    # Whoever waited has been served.
    assert all(task.done() for task in waiting)
    await connections.close()


async def test_more_busy_ledgers_than_places_keep_nobody_else_waiting(
    directory: Directory, tenants: list[Tenant], landlord: Landlord
) -> None:
    connections = connections_with(timeout_s=10)
    calls = Calls(connections)
    idle = await home_of(directory, tenants[0])
    async with asyncio.TaskGroup() as group, AsyncExitStack() as held:
        for _ in range(5):
            tenant = await held.enter_async_context(landlord.tenant())
            busy = await home_of(directory, tenant)
            await held.enter_async_context(tenant.connection.transaction())
            await tenant.connection.execute("SELECT FROM ledger_head FOR UPDATE")
            waiting = group.create_task(close(calls, busy))
            await eventually(partial(blocked, tenant, tenants[0]), "a call waits for the ledger")
        async with asyncio.timeout(AT_ONCE_S):
            await close(calls, idle)
        assert not waiting.done()
    await connections.close()


async def test_a_ledger_that_does_not_answer_in_time_or_at_all_is_told_as_such(
    directory: Directory, tenants: list[Tenant]
) -> None:
    connections = connections_with(timeout_s=0.5)
    calls = Calls(connections)
    home = await home_of(directory, tenants[0])
    async with tenants[0].connection.transaction():
        await tenants[0].connection.execute("SELECT FROM ledger_head FOR UPDATE")
        with pytest.raises(Problem) as late:
            await close(calls, home)
    # Nothing listens on the port of the reserved service "tcpmux".
    with pytest.raises(Problem) as lost:
        await close(calls, replace(home, port=1))
    for raised, kind in ((late, OVERLOADED), (lost, UNAVAILABLE)):
        assert raised.value.kind is kind
        assert int(raised.value.headers["Retry-After"]) >= 1
    await close(calls, home)
    await connections.close()
