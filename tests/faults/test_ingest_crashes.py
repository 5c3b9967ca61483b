"""Ingest killed or stopped: what it acknowledged stays, what it committed is announced."""

import asyncio
import signal

import pytest

from freehold_client import NoAnswerError
from support.answers import created
from support.builders import append, append_request, new_event
from support.clients import Tenant, event_body, event_of
from support.load import load_on
from support.locks import until_one_waits
from support.machine import Machine
from support.servers import REPLICAS
from support.waiting import eventually


async def test_an_append_that_commits_as_ingest_dies_is_announced_by_its_successor(
    machine: Machine, tenant: Tenant
) -> None:
    first = await tenant.append(metadata={"key": "first"})
    await tenant.caught_up()
    body = event_body(amount_minor=7, metadata={"key": "second"})
    async with machine.ledger(tenant) as watching:
        async with machine.locked(tenant):
            # The append waits in the database for the writer lock; ingest is frozen meanwhile, so
            # that no process announces the append when it commits.
            sending = asyncio.create_task(tenant.post("/events", body, key="second"))
            await until_one_waits(watching)
            await machine.send("ingest", signal.SIGSTOP)

        async def committed() -> bool:
            return bool(await watching.fetchval("SELECT last_seq = 2 FROM ledger_head"))

        await eventually(committed, "the append commits")
    await machine.replace("ingest", signal.SIGKILL)
    with pytest.raises(NoAnswerError):
        await sending
    # The client got no answer. Nothing is appended meanwhile, and still the state follows.
    assert (await tenant.caught_up()).head_seq == 2
    assert await tenant.balances("cus_42") == {"USD": 2007}
    again = await tenant.post("/events", body, key="second")
    assert again.headers["idempotency-replayed"] == "true"
    await machine.assert_whole(tenant, [first, event_of(created(again))])


async def test_an_append_that_commits_long_after_ingest_died_is_announced(
    machine: Machine, tenant: Tenant
) -> None:
    first = await tenant.append(metadata={"key": "first"})
    await tenant.caught_up()

    async def adopted() -> bool:
        async with machine.catalog() as catalog:
            return bool(
                await catalog.fetchval(
                    "SELECT count(*) = 1 AND min(l.instance_id::text) <> $2"
                    " FROM announcement_leases AS l WHERE l.tenant_id = $1",
                    tenant.tenant_id,
                    dead,
                )
            )

    async with machine.catalog() as catalog:
        dead = await catalog.fetchval(
            "SELECT instance_id::text FROM announcement_leases WHERE tenant_id = $1",
            tenant.tenant_id,
        )
    async with machine.ledger(tenant) as left:
        async with machine.locked(tenant) as blocking:
            # Ingest's own would wait for no longer than its statement timeout, which is too short
            # here for a process to be killed, started and relieved in. So the test sends it.
            late = asyncio.create_task(append(left, [append_request(new_event(amount_minor=7))]))
            await until_one_waits(blocking)
            await machine.replace("ingest", signal.SIGKILL)
            await eventually(adopted, "the leases are taken over")
            # The first look comes at once, and finds what was known.
            await asyncio.sleep(1)
        await late
    assert (await tenant.caught_up()).head_seq == 2
    assert await tenant.balances("cus_42") == {"USD": 2000}
    assert await tenant.balances("cus_1") == {"USD": 7}
    await machine.assert_whole(tenant, [first])


async def test_events_accepted_without_a_broker_are_announced_after_ingest_was_killed(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    tenants = (tenant, other_tenant)
    before = [await each.append(metadata={"key": "before"}) for each in tenants]
    for each in tenants:
        await each.caught_up()
    async with machine.without("rabbitmq"):
        unannounced = [await each.append(metadata={"key": "unannounced"}) for each in tenants]
        await machine.replace("ingest", signal.SIGKILL)
        for each in tenants:
            assert (await each.lag()).events_behind == 1
    for each, *events in zip(tenants, before, unannounced, strict=True):
        await machine.assert_whole(each, events)


async def test_ingest_killed_under_load_loses_and_doubles_nothing(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with load_on([tenant, other_tenant]) as load:
        for _ in range(2):
            await load.more(40)
            await machine.replace("ingest", signal.SIGKILL)
        await load.more(40)
    assert load.refusals
    await machine.assert_each_whole(load.acknowledged)


async def test_ingest_stopped_answers_the_request_it_has_begun(
    machine: Machine, tenant: Tenant
) -> None:
    first = await tenant.append()
    before = await machine.pid("ingest")
    async with machine.ledger(tenant) as watching:
        async with machine.locked(tenant):
            sending = asyncio.create_task(tenant.post("/events", event_body()))
            await until_one_waits(watching)
            await machine.send("ingest", signal.SIGTERM)

            async def closed() -> bool:
                url = f"{machine.freehold.addresses.ingest}/healthz"
                try:
                    await machine.freehold.ask("GET", url)
                except NoAnswerError:
                    return True
                return False

            await eventually(closed, "ingest takes no more requests")
            assert await machine.pid("ingest") == before
        second = event_of(created(await sending))
    await machine.wait_until_ready("ingest")
    await machine.assert_whole(tenant, [first, second])


async def test_ingest_stopped_finishes_and_announces_accepted_requests(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with load_on([tenant, other_tenant]) as load:
        await load.more(40)
        await machine.replace("ingest", signal.SIGTERM)
        await load.more(40)
    # Requests without an answer were refused a connection; none was cut off.
    assert "ReadTimeout" not in load.refusals
    await machine.assert_each_whole(load.acknowledged)

    async def only_the_living() -> bool:
        async with machine.catalog() as catalog:
            processes: int = await catalog.fetchval("SELECT count(*) FROM ingest_instances")
        return processes == REPLICAS

    await eventually(
        only_the_living, "the one that stopped has left nothing for others to take over"
    )
