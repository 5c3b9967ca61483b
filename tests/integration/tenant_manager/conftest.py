"""tenant-manager as it is, in this process, in front of a real server."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from freehold_tenant_manager.http.components import Components
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.installation import (
    Installation,
    client_of,
    components_of,
    make_tenant,
    running,
)
from integration.tenant_manager.restorable import RestorableTenant


@pytest.fixture(scope="session")
def settings(installation: Installation) -> Settings:
    return installation.settings()


@pytest.fixture(scope="session")
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    async with running(settings) as app:
        yield app


@pytest.fixture(scope="session")
async def replica(settings: Settings, app: FastAPI) -> AsyncIterator[FastAPI]:
    """A second process's worth of tenant-manager on the same catalog."""
    async with running(settings) as replica:
        yield replica


@pytest.fixture
def replica_parts(replica: FastAPI) -> Components:
    """What the second process is made of."""
    return components_of(replica)


@pytest.fixture(scope="session")
async def manager(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """tenant-manager, asked with the operator's token unless a request says otherwise."""
    async with client_of(app) as client:
        yield client


@pytest.fixture(scope="session")
async def other_manager(replica: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(replica) as client:
        yield client


@pytest.fixture(scope="module")
async def tenant_id(manager: httpx.AsyncClient) -> str:
    """A tenant that the tests of one file share."""
    return await make_tenant(manager)


@pytest.fixture
async def tenant(
    app: FastAPI, manager: httpx.AsyncClient, installation: Installation
) -> RestorableTenant:
    """A tenant with an empty ledger to archive, back up and restore."""
    return await RestorableTenant.make(components_of(app), manager, installation)
