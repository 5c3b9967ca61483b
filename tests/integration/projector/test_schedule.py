"""Reconciliation on its schedule: who is due is examined, and what was found is recorded."""

from typing import Any

import orjson

from integration.projector.process import CATALOG, Projector
from integration.query.tenants import Landlord, Tenant
from integration.tenant_manager.installation import Installation
from support.builders import new_event


async def recorded(installation: Installation, tenant: Tenant) -> dict[str, Any]:
    async with installation.superuser(CATALOG) as catalog:
        row = await catalog.fetchrow(
            "SELECT *, due_at > now() + interval '50 minutes' AS done"
            " FROM catalog.reconciliations WHERE tenant_id = $1",
            tenant.tenant_id,
        )
    assert row is not None
    return {**dict(row), "findings": orjson.loads(row["findings"])}


async def due_again(installation: Installation, tenant: Tenant) -> None:
    async with installation.superuser(CATALOG) as catalog:
        await catalog.execute(
            "UPDATE catalog.reconciliations SET due_at = now() WHERE tenant_id = $1",
            tenant.tenant_id,
        )


async def test_a_correct_ledger_is_anchored_and_a_forged_one_is_reported(
    landlord: Landlord, projector: Projector, installation: Installation
) -> None:
    async with landlord.tenant() as sound, landlord.tenant() as forged:
        for tenant in (sound, forged):
            await tenant.append(new_event("cus_1"), new_event("cus_2"))
            await due_again(installation, tenant)
        # A row beside the real one, under the same number: projecting it fails.
        await forged.connection.execute(
            "INSERT INTO ledger_events SELECT (f.row).* FROM (SELECT jsonb_populate_record("
            " e, jsonb_build_object("
            "  'event_id', overlay(e.event_id::text PLACING 'ffffffff' FROM 29)"
            " )) AS row FROM ledger_events AS e WHERE seq = 2) AS f"
        )
        # There are tenants of other tests too.
        while await projector.reconciliation.reconcile_due():
            pass
        fine = await recorded(installation, sound)
        assert (fine["findings"], fine["anchor_seq"], fine["done"]) == ([], 2, True)
        bad = await recorded(installation, forged)
        kinds = {finding["kind"] for finding in bad["findings"]}
        assert "chain-broken" in kinds
        assert (bad["anchor_seq"], bad["done"]) == (0, True)

        await due_again(installation, sound)
        await sound.append(new_event("cus_3"))
        await projector.reconciliation.reconcile_due()
        assert (await recorded(installation, sound))["anchor_seq"] == 3
