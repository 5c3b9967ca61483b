"""Holds that expire with no traffic: noted where a crash cannot lose it, and settled in time."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from freehold.contracts.holds import NewHold
from freehold.ledger import client as ledger
from freehold.ledger.append import Release
from freehold.ledger.client import Record
from integration.projector.process import CATALOG, Projector, new_projector
from integration.query.tenants import Tenant
from integration.tenant_manager.installation import Installation
from support.builders import new_event, new_hold
from support.waiting import eventually

# Longer than a busy machine takes to append: a hold that has expired is refused.
SOON_S = 1.0
LATE_S = 3600.0


async def test_a_hold_expires_although_nothing_is_appended(
    projector: Projector, tenant: Tenant, installation: Installation
) -> None:
    await tenant.append(new_event(amount_minor=1000), hold(SOON_S))
    await seen(projector, tenant)
    assert await held(tenant) == 300
    await expired(projector, tenant, installation)
    rows = await tenant.connection.fetch("SELECT event_type FROM ledger_events ORDER BY seq")
    assert [row["event_type"] for row in rows] == ["CHARGE", "HOLD", "HOLD_EXPIRY"]
    assert await saved(installation, tenant) == []


async def test_a_tenant_whose_holds_never_expire_is_not_saved(
    projector: Projector, tenant: Tenant, installation: Installation
) -> None:
    await tenant.append(new_event(), hold())
    await seen(projector, tenant)
    assert await saved(installation, tenant) == []


async def test_the_next_hold_is_saved_when_one_has_expired(
    projector: Projector, tenant: Tenant, installation: Installation
) -> None:
    later = hold(LATE_S)
    assert later.expires_at is not None
    await tenant.append(hold(SOON_S), later)
    await seen(projector, tenant)
    await expired(projector, tenant, installation, leaves=300)
    (row,) = await saved(installation, tenant)
    assert row["expires_at"] <= later.expires_at < row["due_at"]


async def test_what_one_process_has_saved_another_one_settles(
    projector: Projector, tenant: Tenant, installation: Installation
) -> None:
    await tenant.append(hold(SOON_S))
    async with new_projector(installation) as dying:
        await seen(dying, tenant)
    await expired(projector, tenant, installation)


async def test_another_process_takes_over_from_one_that_crashes_while_it_looks(
    projector: Projector, tenant: Tenant, installation: Installation
) -> None:
    await tenant.append(hold(SOON_S))
    await seen(projector, tenant)
    await due(installation, tenant)
    async with new_projector(installation) as dying:
        assert await dying.hold_expiries.claim(uuid4(), 1) == {tenant.tenant_id}
    # While the claim lasts, no other projector comes.
    claimed = await saved(installation, tenant)
    await projector.hold_expiry.expire_due()
    assert await saved(installation, tenant) == claimed
    await due(installation, tenant)
    await expired(projector, tenant, installation)


async def test_events_of_a_process_that_died_before_it_projected_them_are_projected(
    projector: Projector, tenant: Tenant, installation: Installation
) -> None:
    await tenant.append(hold(SOON_S))
    await seen(projector, tenant)

    async def settled() -> bool:
        return (await ledger.expire_holds(tenant.connection)).last_seq == 2

    await eventually(settled, "the hold expires")
    assert await held(tenant) == 300
    await expired(projector, tenant, installation)


async def test_an_expiry_saved_while_somebody_looks_is_not_forgotten(
    projector: Projector, tenant: Tenant, installation: Installation
) -> None:
    await tenant.append(hold(SOON_S))
    await seen(projector, tenant)
    (row,) = await saved(installation, tenant)

    async def has_begun() -> bool:
        return bool(row["expires_at"] <= datetime.now(UTC))

    # Before, nobody looks, and what is saved already is not saved again.
    await eventually(has_begun, "the second in which the hold expires")
    await due(installation, tenant)
    owner = uuid4()
    async with new_projector(installation) as looking:
        await looking.hold_expiries.claim(owner, 1)
        # It looks, and finds nothing that expires any more; but it may have looked too early.
        for expiry in (row["expires_at"], datetime.now(UTC) + timedelta(seconds=LATE_S)):
            await projector.hold_expiries.save(tenant.tenant_id, expiry)
        await looking.hold_expiries.settle(owner, tenant.tenant_id, None)
    assert [row["leased_by"] for row in await saved(installation, tenant)] == [None, None]


async def test_a_saved_expiry_stays_whatever_happens_to_the_hold(
    projector: Projector, tenant: Tenant, installation: Installation
) -> None:
    """Who noted it relies on that, when another hold comes that expires in the same second."""
    late = hold(LATE_S)
    (released,) = await tenant.append(late)
    await seen(projector, tenant)
    (row,) = await saved(installation, tenant)
    async with new_projector(installation) as other:
        await tenant.append(hold(SOON_S), Release(released["event_id"]))
        await seen(other, tenant)
        await expired(other, tenant, installation)
    await tenant.append(late)
    await seen(projector, tenant)
    assert await saved(installation, tenant) == [row]


async def test_an_expiry_that_is_known_costs_no_write(
    projector: Projector, tenant: Tenant, installation: Installation
) -> None:
    await tenant.append(hold(LATE_S))
    await seen(projector, tenant)
    before = await saved(installation, tenant)
    await tenant.append(new_event(), hold(2 * LATE_S))
    await seen(projector, tenant)
    assert await saved(installation, tenant) == before
    await tenant.append(hold(LATE_S / 2))
    await seen(projector, tenant)
    assert await saved(installation, tenant) != before


async def test_many_holds_that_expire_together_are_settled_in_one_call(
    projector: Projector, tenant: Tenant, installation: Installation
) -> None:
    # More than one call of expire_holds settles.
    await tenant.append(*[hold(2)] * 2_500)
    await seen(projector, tenant)
    assert await held(tenant) == 2_500 * 300

    async def begun() -> bool:
        # Others may be due before them.
        await projector.hold_expiry.expire_due()
        return all(row["leased_by"] is not None for row in await saved(installation, tenant))

    await eventually(begun, "they are due")

    async def settled() -> bool:
        return await held(tenant) == 0

    await eventually(settled, "all of them expire")


async def test_a_hanging_database_delays_no_other_tenant(
    projector: Projector, tenant: Tenant, other_tenant: Tenant, installation: Installation
) -> None:
    for each in (tenant, other_tenant):
        await each.append(hold(SOON_S))
        await seen(projector, each)
    async with tenant.connection.transaction():
        # The settling of holds waits for the writer lock.
        await tenant.connection.execute("SELECT FROM ledger_head FOR UPDATE")
        await expired(projector, other_tenant, installation)
        assert await held(tenant) == 300
    await expired(projector, tenant, installation)


async def test_an_unreachable_tenant_is_tried_again_later(
    projector: Projector, tenant: Tenant, installation: Installation
) -> None:
    await tenant.append(hold(SOON_S))
    await seen(projector, tenant)
    await due(installation, tenant)
    async with installation.superuser(CATALOG) as catalog:
        await catalog.execute(
            "DELETE FROM catalog.credentials AS c USING catalog.tenants AS t"
            " WHERE c.database_name = t.database_name AND t.tenant_id = $1",
            tenant.tenant_id,
        )

    # Asked as a process that does not know them from before.
    async with new_projector(installation) as other:

        async def later() -> bool:
            await other.hold_expiry.expire_due()
            first, *_ = await saved(installation, tenant)
            return bool(first["due_at"] > datetime.now(UTC) + timedelta(minutes=5))

        await eventually(later, "they are asked for later")
    assert await held(tenant) == 300


def hold(for_s: float | None = None) -> NewHold:
    """A hold of 300 that expires after `for_s` seconds, or never."""
    expires_at = None if for_s is None else datetime.now(UTC) + timedelta(seconds=for_s)
    return new_hold(amount_minor=300, expires_at=expires_at)


async def seen(projector: Projector, tenant: Tenant) -> None:
    """Do what a doorbell makes projector do."""
    projection = await projector.catch_up.project(tenant.tenant_id)
    await projector.hold_expiries.save(tenant.tenant_id, projection.next_hold_expiry)


async def expired(
    projector: Projector, tenant: Tenant, installation: Installation, *, leaves: int = 0
) -> None:
    """Look for holds that have expired, as often as it takes."""

    async def settled() -> bool:
        await projector.hold_expiry.expire_due()
        rows = await saved(installation, tenant)
        return await held(tenant) == leaves and all(row["due_at"] > far for row in rows)

    far = datetime.now(UTC) + timedelta(seconds=LATE_S / 2)
    await eventually(settled, "the hold expires")


async def held(tenant: Tenant) -> int:
    """What is held on cus_1, as projected."""
    return int(
        await tenant.connection.fetchval(
            "SELECT held_minor FROM account_balances WHERE account_id = 'cus_1'"
        )
    )


async def saved(installation: Installation, tenant: Tenant) -> list[Record]:
    """What the catalog has about a tenant, and which transactions wrote it."""
    async with installation.superuser(CATALOG) as catalog:
        return await catalog.fetch(
            "SELECT *, xmin::text FROM catalog.hold_expiries WHERE tenant_id = $1"
            " ORDER BY expires_at",
            tenant.tenant_id,
        )


async def due(installation: Installation, tenant: Tenant) -> None:
    """Let time pass, as far as the catalog is concerned."""
    async with installation.superuser(CATALOG) as catalog:
        await catalog.execute(
            "UPDATE catalog.hold_expiries SET due_at = '2000-01-01Z', leased_until = '-infinity'"
            " WHERE tenant_id = $1",
            tenant.tenant_id,
        )
