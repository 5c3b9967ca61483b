"""Projector on a real server: tenants of a catalog of its own, and a process."""

from collections.abc import AsyncIterator

import pytest

from integration.projector.process import CATALOG, Projector, new_projector
from integration.query.tenants import Landlord, new_landlord
from integration.tenant_manager.installation import Installation


@pytest.fixture(scope="session")
async def landlord(installation: Installation) -> AsyncIterator[Landlord]:
    async with new_landlord(installation, CATALOG) as landlord:
        yield landlord


@pytest.fixture
async def projector(landlord: Landlord, installation: Installation) -> AsyncIterator[Projector]:
    assert landlord
    async with new_projector(installation) as projector:
        yield projector
