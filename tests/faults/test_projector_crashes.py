"""Projector killed: what it had not acknowledged comes again, and is never applied twice."""

import asyncio
import signal

import pytest

from support.clients import Tenant
from support.load import load_on
from support.locks import until_one_waits
from support.machine import Machine
from support.waiting import eventually


@pytest.mark.usefixtures("one_projector")
async def test_a_doorbell_delivered_again_after_it_was_applied_changes_nothing(
    machine: Machine, tenant: Tenant
) -> None:
    first = await tenant.append(amount_minor=5)
    await tenant.caught_up()
    async with machine.ledger(tenant) as watching:
        async with machine.locked(tenant, "projection_checkpoint"):
            # The projection waits in the database; projector is frozen meanwhile, so that the
            # projection commits and no process acknowledges its doorbell.
            second = await tenant.append(amount_minor=7)
            await until_one_waits(watching)
            await machine.send("projector", signal.SIGSTOP)

        async def applied() -> bool:
            return bool(await watching.fetchval("SELECT last_seq = 2 FROM projection_checkpoint"))

        await eventually(applied, "the projection commits")
    await machine.replace("projector", signal.SIGKILL)

    async def served_again() -> bool:
        served = await machine.metric(
            "projector", "freehold_projector_doorbells_total", result="served"
        )
        return served > 0

    # Nothing was appended since, so what the new process serves is what the old one left.
    await eventually(served_again, "the doorbell comes again")
    assert await machine.metric("projector", "freehold_projector_events_projected_total") == 0
    assert await tenant.balances("cus_42") == {"USD": 12}
    await machine.assert_whole(tenant, [first, second])


async def test_projector_killed_under_load_applies_every_event_once(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    async with load_on([tenant, other_tenant]) as load:
        for _ in range(2):
            await load.more(30)
            await machine.replace("projector", signal.SIGKILL)
        await load.more(30)
        await machine.replace("projector", signal.SIGTERM)
    # Writers are not affected.
    assert not load.refusals
    await machine.assert_each_whole(load.acknowledged)
    for each, events in load.acknowledged.items():
        sums = await asyncio.gather(*(each.balances(f"cus_{n}") for n in range(5)))
        assert sum(held["USD"] for held in sums) == sum(event.amount_minor for event in events)
