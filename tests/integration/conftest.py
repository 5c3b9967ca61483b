"""Fixtures for the services' own tests."""

from collections.abc import AsyncIterator

import pytest

from integration.query.tenants import Landlord, Tenant
from integration.tenant_manager.installation import Installation, new_installation


@pytest.fixture(scope="session")
async def installation(
    postgres_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Installation]:
    """The one installation of a session: two on one server would quarrel over the template."""
    folder = tmp_path_factory.mktemp("installation")
    async with new_installation(postgres_url, folder) as installation:
        yield installation


@pytest.fixture
async def tenant(landlord: Landlord) -> AsyncIterator[Tenant]:
    """A tenant of this test alone. Which catalog they are in, the service's own tests say."""
    async with landlord.tenant() as tenant:
        yield tenant


@pytest.fixture
async def other_tenant(landlord: Landlord) -> AsyncIterator[Tenant]:
    """A second tenant."""
    async with landlord.tenant() as tenant:
        yield tenant
