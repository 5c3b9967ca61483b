"""Reconciliation on its schedule: who is due is examined, and what was found is recorded."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from freehold.messaging.broker import Broker
from freehold.security.sealing import KeyRing
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.directory import Directory
from freehold_projector.catching_up import CatchingUp
from freehold_projector.reconciliation import Reconciliation
from integration.query.tenants import Landlord, Tenant, new_landlord
from integration.tenant_manager.installation import (
    CREDENTIAL_KEYS,
    Installation,
    service_password,
)
from support.builders import new_event

CATALOG = f"freehold_test_catalog_{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
async def landlord(installation: Installation) -> AsyncIterator[Landlord]:
    async with new_landlord(installation, CATALOG) as landlord:
        yield landlord


@pytest.fixture
async def reconciliation(
    landlord: Landlord, installation: Installation
) -> AsyncIterator[Reconciliation]:
    """Reconciliation as projector's own role has it."""
    dsn = installation.url(CATALOG, "freehold_projector", service_password("projector"))
    catalog = Catalog(dsn, application="test", timeout_s=5)
    connections = TenantConnections(
        application="test", connections_max=5, per_tenant_max=2, idle_s=60, timeout_s=10
    )
    directory = Directory(catalog, KeyRing(CREDENTIAL_KEYS))
    catching_up = CatchingUp(
        directory,
        connections,
        Broker("amqp://127.0.0.1:1/", name="test", timeout_s=1),
        in_flight_max=2,
        events_max=1000,
    )
    await catalog.open()
    yield Reconciliation(catalog, directory, connections, catching_up, every_s=3600)
    await catching_up.close()
    await connections.close()
    await catalog.close()


async def recorded(installation: Installation, tenant: Tenant) -> dict[str, Any]:
    async with installation.superuser(CATALOG) as catalog:
        row = await catalog.fetchrow(
            "SELECT *, due_at > now() + interval '50 minutes' AS done"
            " FROM catalog.reconciliations WHERE tenant_id = $1",
            tenant.tenant_id,
        )
    assert row is not None
    return {**dict(row), "findings": orjson.loads(row["findings"])}


async def due_again(installation: Installation) -> None:
    async with installation.superuser(CATALOG) as catalog:
        await catalog.execute("UPDATE catalog.reconciliations SET due_at = now()")


async def test_a_sound_tenant_is_anchored_and_a_forged_ledger_is_told_beside_it(
    landlord: Landlord, reconciliation: Reconciliation, installation: Installation
) -> None:
    async with landlord.tenant() as sound, landlord.tenant() as forged:
        for tenant in (sound, forged):
            await tenant.append(new_event("cus_1"), new_event("cus_2"))
        # A row beside the real one, under the same number: projecting it fails.
        await forged.connection.execute(
            "INSERT INTO ledger_events SELECT (f.row).* FROM (SELECT jsonb_populate_record("
            " e, jsonb_build_object("
            "  'event_id', overlay(e.event_id::text PLACING 'ffffffff' FROM 29)"
            " )) AS row FROM ledger_events AS e WHERE seq = 2) AS f"
        )
        for _ in range(3):
            await reconciliation.reconcile_due()
        fine = await recorded(installation, sound)
        assert (fine["findings"], fine["anchor_seq"], fine["done"]) == ([], 2, True)
        bad = await recorded(installation, forged)
        kinds = {finding["kind"] for finding in bad["findings"]}
        assert "chain-broken" in kinds
        assert (bad["anchor_seq"], bad["done"]) == (0, True)

        await due_again(installation)
        await sound.append(new_event("cus_3"))
        await reconciliation.reconcile_due()
        assert (await recorded(installation, sound))["anchor_seq"] == 3
