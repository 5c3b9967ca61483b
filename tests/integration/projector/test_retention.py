"""Idempotency keys that have expired are removed step by step; all else stays."""

from integration.projector.process import CATALOG, Projector
from integration.query.tenants import Landlord, Tenant
from integration.tenant_manager.installation import Installation
from support.builders import append, append_request, new_event
from support.waiting import eventually

STEP = 10
"""What one step removes in these tests."""


async def test_expired_keys_are_removed_in_steps_and_others_stay(
    projector: Projector, tenant: Tenant, other_tenant: Tenant
) -> None:
    for each in (tenant, other_tenant):
        await keys(each, *(f"old-{place}" for place in range(2 * STEP + 5)))
        await expire_all(each)
        await keys(each, "fresh")
        projector.retention.take_up(each.tenant_id)
    # A round is one step for everybody.
    for left in (STEP + 5 + 1, 5 + 1, 1, 1):
        await projector.retention.forget()
        assert [len(await known(each)) for each in (tenant, other_tenant)] == [left, left]
    assert await known(tenant) == {"fresh"}


async def test_external_ids_never_expire(projector: Projector, tenant: Tenant) -> None:
    event = new_event(external_id="ch_1")
    await append(tenant.connection, [append_request(event, key="once")])
    await expire_all(tenant)
    projector.retention.take_up(tenant.tenant_id)
    await projector.retention.forget()
    assert await known(tenant) == set()
    (again,) = await append(tenant.connection, [append_request(event, key="once")])
    assert again.outcome == "duplicate_external_id"


async def test_reconciliation_begins_with_it(
    projector: Projector, tenant: Tenant, installation: Installation
) -> None:
    await keys(tenant, "old")
    await expire_all(tenant)
    await make_due(tenant, installation)
    await projector.reconciliation.reconcile_due()
    await projector.retention.forget()
    assert await known(tenant) == set()


async def test_it_begins_for_a_ledger_that_cannot_be_examined(
    projector: Projector, tenant: Tenant, installation: Installation
) -> None:
    await keys(tenant, "old")
    await expire_all(tenant)
    await make_due(tenant, installation)
    async with tenant.connection.transaction():
        await tenant.connection.execute("LOCK TABLE account_balances, projection_checkpoint")
        # Its statement is given up in the end.
        await projector.reconciliation.reconcile_due()
        await projector.retention.forget()
    assert await known(tenant) == set()


async def test_keys_are_forgotten_while_a_writer_holds_the_lock(
    projector: Projector, tenant: Tenant, landlord: Landlord
) -> None:
    await keys(tenant, "old", "being-used-again")
    await expire_all(tenant)
    async with landlord.connection(tenant) as writer, writer.transaction():
        await append(writer, [append_request(new_event(), key="being-used-again")])
        projector.retention.take_up(tenant.tenant_id)
        await projector.retention.forget()
        assert await known(tenant) == {"being-used-again"}
    assert await known(tenant) == {"being-used-again"}


async def test_an_unreachable_tenant_delays_no_other(
    projector: Projector, tenant: Tenant, other_tenant: Tenant, landlord: Landlord
) -> None:
    await keys(other_tenant, "old")
    await expire_all(other_tenant)
    await landlord.move(tenant, 1)
    for each in (tenant, other_tenant):
        projector.retention.take_up(each.tenant_id)

    async def forgotten() -> bool:
        await projector.retention.forget()
        return await known(other_tenant) == set()

    await eventually(forgotten, "the other's key is removed")


async def make_due(tenant: Tenant, installation: Installation) -> None:
    async with installation.superuser(CATALOG) as catalog:
        await catalog.execute(
            "UPDATE catalog.reconciliations SET due_at = now() - interval '1 day'"
            " WHERE tenant_id = $1",
            tenant.tenant_id,
        )


async def keys(tenant: Tenant, *names: str) -> None:
    await append(tenant.connection, [append_request(new_event(), key=name) for name in names])


async def expire_all(tenant: Tenant) -> None:
    await tenant.connection.execute(
        "UPDATE idempotency_keys SET expires_at = now() - interval '1 second'"
    )


async def known(tenant: Tenant) -> set[str]:
    rows = await tenant.connection.fetch("SELECT idempotency_key FROM idempotency_keys")
    return {row["idempotency_key"] for row in rows}
