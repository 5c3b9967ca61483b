"""More tenants whose databases hang than there are places in flight: everybody else goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from freehold_ingest.settings import Settings
from support.clients import Tenant, event_body
from support.machine import Machine
from support.waiting import PATIENCE_S, eventually

PLACES: int = Settings.model_fields["transactions_in_flight_max"].default
# Ingest's statements are given up after 8 s in the stack of these tests, projector's after 300 s.
WELL_BEFORE_S = 6


@pytest.fixture
async def hung(machine: Machine) -> list[Tenant]:
    """Those who are to hang."""
    return [await machine.new_tenant() for _ in range(PLACES + 1)]


async def test_hanging_appends_delay_no_other_tenant(
    machine: Machine, hung: list[Tenant], tenant: Tenant
) -> None:
    await tenant.append()
    async with locked(machine, hung, "ledger_head"):
        posted = [
            asyncio.create_task(each.post("/events", event_body(), key="same")) for each in hung
        ]
        await all_places_taken(machine)
        async with asyncio.timeout(WELL_BEFORE_S):
            await tenant.append()
        assert not any(task.done() for task in posted)
    await asyncio.gather(*posted)
    for each in hung:
        event = await each.append(key="same")
        await machine.assert_whole(each, [event])


async def test_hanging_projections_delay_no_other_tenant(
    machine: Machine, hung: list[Tenant], tenant: Tenant
) -> None:
    async with locked(machine, hung, "projection_checkpoint"):
        theirs = [await each.append() for each in hung]
        await all_places_taken(machine)
        event = await tenant.append()
        async with asyncio.timeout(PATIENCE_S):
            await tenant.caught_up()
        for each in hung:
            assert (await each.lag()).events_behind == 1
    await machine.assert_whole(tenant, [event])
    for each, its_event in zip(hung, theirs, strict=True):
        await machine.assert_whole(each, [its_event])


@asynccontextmanager
async def locked(machine: Machine, tenants: list[Tenant], table: str) -> AsyncIterator[None]:
    """Hold the rows of one of each tenant's tables for a while."""
    async with AsyncExitStack() as held:
        for tenant in tenants:
            await held.enter_async_context(machine.locked(tenant, table))
        yield


async def all_places_taken(machine: Machine) -> None:
    async with machine.catalog() as catalog:

        async def taken() -> bool:
            waiting: int = await catalog.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            )
            return waiting >= PLACES

        await eventually(taken, "as many calls wait as there are places")
