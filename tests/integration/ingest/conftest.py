"""A catalog and tenants as ingest has them."""

import secrets
from collections.abc import AsyncIterator

import pytest

from freehold.tenants.catalog import Catalog
from freehold.tenants.connections import TenantConnections
from freehold.tenants.directory import Directory
from integration.query.tenants import Landlord, Tenant, new_landlord
from integration.tenant_manager.installation import KEY_RING, Installation, service_password
from support.waiting import eventually

CATALOG = f"freehold_test_catalog_{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
async def landlord(installation: Installation) -> AsyncIterator[Landlord]:
    async with new_landlord(installation, CATALOG) as landlord:
        yield landlord


@pytest.fixture(scope="session")
async def tenants(landlord: Landlord) -> AsyncIterator[list[Tenant]]:
    """Three tenants with empty ledgers, to begin with."""
    async with landlord.tenant() as one, landlord.tenant() as two, landlord.tenant() as three:
        yield [one, two, three]


@pytest.fixture
async def catalog(landlord: Landlord, installation: Installation) -> AsyncIterator[Catalog]:
    """The catalog, as ingest's own role."""
    dsn = installation.url(CATALOG, "freehold_ingest", service_password("ingest"))
    catalog = Catalog(dsn, application="test", timeout_s=5)
    await catalog.open()
    async with installation.superuser(CATALOG) as superuser:
        await superuser.execute("DELETE FROM catalog.ingest_instances")

    async def reachable() -> bool:
        return catalog.reachable

    await eventually(reachable, "the catalog is reachable")
    yield catalog
    await catalog.close()


@pytest.fixture
def directory(catalog: Catalog) -> Directory:
    return Directory(catalog, KEY_RING)


@pytest.fixture
async def connections() -> AsyncIterator[TenantConnections]:
    connections = TenantConnections(
        application="test", connections_max=5, per_tenant_max=2, idle_s=60, timeout_s=5
    )
    yield connections
    await connections.close()
