"""Holds that expire with no traffic, and keys that expire under load, while projector is killed."""

import signal
from datetime import UTC, datetime, timedelta

import pytest

from faults.test_catalog import without_catalog
from freehold.ledger.append import append
from freehold.ledger.client import Connection
from freehold_client import NoAnswerError
from support.answers import found
from support.builders import append_request, new_hold
from support.clients import Tenant
from support.documents import Document
from support.load import load_on
from support.machine import Machine
from support.waiting import eventually

SOON_S = 2.0


async def test_a_hold_expires_without_any_request(machine: Machine, tenant: Tenant) -> None:
    events = [await tenant.append(amount_minor=1000)]
    expires_at = await place(machine, tenant, for_s=SOON_S)
    events.append(await tenant.append(amount_minor=1))
    await tenant.caught_up()
    await check_held(tenant, 1001, expires_at)
    await let_go(tenant, 1001)
    await machine.assert_whole(tenant, events)


async def test_projector_killed_between_a_hold_and_its_expiry_loses_nothing(
    machine: Machine, tenant: Tenant, other_tenant: Tenant
) -> None:
    """With the one, its expiry is saved; with the other, the doorbell may not be served yet."""
    events = [await tenant.append()]
    await place(machine, tenant, for_s=SOON_S)
    events.append(await tenant.append())
    await tenant.caught_up()
    await place(machine, other_tenant, for_s=SOON_S)
    theirs = [await other_tenant.append()]
    await machine.replace("projector", signal.SIGKILL)
    await let_go(tenant, 4000)
    await let_go(other_tenant, 2000)
    await machine.assert_whole(tenant, events)
    await machine.assert_whole(other_tenant, theirs)


async def test_projector_killed_while_it_settles_a_hold_loses_nothing(
    machine: Machine, tenant: Tenant
) -> None:
    events = [await tenant.append()]
    # The lock below has to be held before the hold expires.
    await place(machine, tenant, for_s=3 * SOON_S)
    events.append(await tenant.append())
    await tenant.caught_up()
    async with machine.ledger(tenant) as watching:
        async with machine.locked(tenant, "projection_checkpoint"):
            # Balances wait; the settling goes on, and then no process projects it.

            async def settled() -> bool:
                return bool(await watching.fetchval("SELECT last_seq = 4 FROM ledger_head"))

            await eventually(settled, "the hold is settled")
            await machine.send("projector", signal.SIGKILL)
            # What a dead client asked for would be done all the same, once nothing is in its way.
            await watching.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'freehold-projector'"
            )
        assert await watching.fetchval("SELECT held_minor FROM account_balances") == 300
    await machine.wait_until_ready("projector")
    await let_go(tenant, 4000)
    await machine.assert_whole(tenant, events)


@pytest.mark.usefixtures("one_projector")
async def test_without_the_catalog_balances_follow_and_the_expiry_is_noted_later(
    machine: Machine, tenant: Tenant
) -> None:
    events = [await tenant.append()]
    await tenant.caught_up()
    async with without_catalog(machine):
        expires_at = await place(machine, tenant, for_s=SOON_S)
        for number in range(2, 12):
            # Nothing waits for the catalog, however often it is asked in vain.
            events.append(await tenant.append())
            await tenant.caught_up()
            await check_held(tenant, 2000 * number, expires_at)
        await killed(machine)
    await let_go(tenant, 22_000)
    await machine.assert_whole(tenant, events)


async def test_expired_keys_are_removed_during_appends(machine: Machine, tenant: Tenant) -> None:
    old = [await tenant.append(key=f"old-{place}") for place in range(20)]
    async with machine.ledger(tenant) as ledger:
        await ledger.execute("UPDATE idempotency_keys SET expires_at = now()")
        async with load_on([tenant]) as load:
            await load.more(20)
            await reconcile(machine, tenant)

            async def gone() -> bool:
                return not await known(ledger, "old-")

            await eventually(gone, "the expired keys are removed")
            await load.more(20)
        assert not load.refusals
        acknowledged = load.acknowledged[tenant]
        assert len(await known(ledger, "")) > 0
    assert await machine.metric("projector", "freehold_projector_keys_forgotten_total") >= 20
    # A forgotten key may be used again; one that is not stays what it was.
    anew = await tenant.append(key="old-0")
    assert anew.event_id != old[0].event_id
    assert (await tenant.append(key="old-0")).event_id == anew.event_id
    await machine.assert_whole(tenant, [*old, *acknowledged, anew])


async def place(machine: Machine, tenant: Tenant, *, for_s: float) -> datetime:
    """Place a hold past ingest: the doorbell of the next event covers it."""
    expires_at = datetime.now(UTC) + timedelta(seconds=for_s)
    async with machine.ledger(tenant) as ledger:
        await append(ledger, [append_request(new_hold("cus_42", 300, expires_at=expires_at))])
    return expires_at


async def killed(machine: Machine) -> None:
    """Kill projector, and wait until it lives again, ready or not."""
    before = await machine.pid("projector")
    await machine.send("projector", signal.SIGKILL)

    async def alive() -> bool:
        if await machine.pid("projector") in {None, before}:
            return False
        try:
            url = f"{machine.freehold.services['projector']}/healthz"
            return (await machine.freehold.ask("GET", url)).status_code == 200
        except NoAnswerError:
            return False

    await eventually(alive, "projector lives again")


async def amounts(tenant: Tenant) -> tuple[int, int, int]:
    """The balance, what is held of it, and what is available."""
    balance: Document = found(await tenant.get("/accounts/cus_42/balances/USD"))
    return balance["current_balance_minor"], balance["held_minor"], balance["available_minor"]


async def check_held(tenant: Tenant, balance: int, expires_at: datetime) -> None:
    """Check that the hold is held; a slow machine may read only after it has expired."""
    seen = await amounts(tenant)
    kept = (balance, 300, balance - 300)
    assert seen == kept or (datetime.now(UTC) >= expires_at and seen == (balance, 0, balance))


async def let_go(tenant: Tenant, balance: int) -> None:
    """Wait until nothing is held any more."""

    async def released() -> bool:
        return await amounts(tenant) == (balance, 0, balance)

    await eventually(released, "the hold has expired")


async def reconcile(machine: Machine, tenant: Tenant) -> None:
    async with machine.catalog() as catalog:
        await catalog.execute(
            "UPDATE reconciliations SET due_at = now() WHERE tenant_id = $1", tenant.tenant_id
        )


async def known(ledger: Connection, prefix: str) -> list[str]:
    rows = await ledger.fetch(
        "SELECT idempotency_key FROM idempotency_keys WHERE starts_with(idempotency_key, $1)",
        prefix,
    )
    return [row["idempotency_key"] for row in rows]
