"""The broker or the database goes away and comes back: clients come again, and nothing is lost."""

import signal
import time
from functools import partial

from support.clients import Freehold, Tenant, event_body, tenant_body
from support.load import load_on
from support.machine import Machine
from support.waiting import eventually

CONFIRM_S = 5
# The longest deadline of a service, and what a busy machine may take on top.
ANSWERED_WITHIN_S = 10 + 20


async def test_without_the_broker_events_are_accepted_and_announced_when_it_is_back(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    silent = await machine.new_tenant()
    async with load_on([tenant, other_tenant]) as load:
        await load.more(40)
        async with machine.without("rabbitmq"):
            await load.more(60)
            # Writes during the outage and never again: no later doorbell makes up for a lost one.
            unannounced = await silent.append()
            # Ingest does without the broker; projector cannot.
            await eventually(partial(unready, machine.freehold, "projector"), "projector says so")
            assert not await unready(machine.freehold, "ingest")
            assert await silent.balances("cus_42", consistency="strong") == {"USD": 2000}
            assert (await silent.lag()).events_behind == 1
        await machine.wait_until_ready("projector")
        await load.more(40)
    assert not load.refusals
    await machine.assert_each_whole(load.acknowledged)
    await machine.assert_whole(silent, [unannounced])


async def test_a_broker_that_is_killed_keeps_its_doorbells(
    machine: Machine, tenant: Tenant
) -> None:
    # Projector is stopped, so that the doorbells lie in the queue when the broker dies.
    async with machine.without("projector"):
        event = await tenant.append()
        await machine.replace("rabbitmq", signal.SIGKILL)
    await machine.assert_whole(tenant, [event])


async def test_a_broker_that_hangs_delays_no_append(machine: Machine, tenant: Tenant) -> None:
    before = await tenant.append()
    await tenant.caught_up()
    async with machine.hanging("rabbitmq"):
        unconfirmed = await unconfirmed_doorbells(machine)
        started = time.monotonic()
        during = await tenant.append()
        assert time.monotonic() - started < CONFIRM_S

        async def given_up() -> bool:
            return await unconfirmed_doorbells(machine) > unconfirmed

        await eventually(given_up, "ingest no longer waits for the confirm")
    await machine.assert_whole(tenant, [before, during])


async def test_a_postgres_that_crashes_under_load_loses_nothing_acknowledged(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with load_on([tenant, other_tenant]) as load:
        await load.more(40)
        # No time to write anything down: recovery is from the log alone.
        await machine.replace("postgres", signal.SIGQUIT)
        await load.more(40)
    assert load.refusals
    await machine.wait_until_ready()
    await machine.assert_each_whole(load.acknowledged)


async def test_every_service_reports_that_postgres_is_down_and_recovers(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with load_on([tenant, other_tenant]) as load:
        await load.more(40)
        async with machine.without("postgres"):
            for ask in (
                partial(tenant.post, "/events", event_body()),
                partial(tenant.post, "/events/batch", {"events": [event_body()]}),
                partial(tenant.get, "/accounts/cus_42/balances"),
                partial(tenant.get, "/accounts/cus_42/balances", consistency="strong"),
                partial(tenant.get, "/balances"),
                partial(tenant.get, "/events"),
                partial(tenant.get, "/lag"),
                partial(machine.freehold.manage, "GET", "/tenants"),
                partial(machine.freehold.manage, "POST", "/tenants", tenant_body()),
            ):
                started = time.monotonic()
                assert (await ask()).status_code == 503
                assert time.monotonic() - started < ANSWERED_WITHIN_S
            for service in ("tenant-manager", "ingest", "projector", "query"):
                await eventually(partial(unready, machine.freehold, service), f"{service} says so")
        await load.more(40)
    assert load.refusals
    await machine.wait_until_ready()
    await machine.assert_each_whole(load.acknowledged)


async def test_requests_succeed_although_connections_are_cut_repeatedly(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with load_on([tenant, other_tenant]) as load:
        await load.more(20)
        for _ in range(30):
            await eventually(machine.cut_connections, "there are connections to cut")
            await load.more(1)
    assert load.refusals
    await machine.wait_until_ready()
    await machine.assert_each_whole(load.acknowledged)
    # The services have not stopped listening to the catalog.
    bearer = await tenant.limited_to("ingest", "read")
    await bearer.append()
    await bearer.lag()
    await bearer.revoke()
    await bearer.shut_out()


async def unconfirmed_doorbells(machine: Machine) -> float:
    return await machine.metric("ingest", "freehold_ingest_doorbells_total", result="unconfirmed")


async def unready(freehold: Freehold, service: str) -> bool:
    """Whether a service says that it lacks something it needs."""
    answer = await freehold.ask("GET", f"{freehold.services[service]}/readyz")
    if answer.status_code == 200:
        return False
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
    assert not all(answer.json()["checks"].values())
    return True
