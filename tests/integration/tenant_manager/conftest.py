"""tenant-manager as it is, in this process, in front of a real server."""

import secrets
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.installation import (
    Installation,
    client_of,
    running,
)


@pytest.fixture(scope="session")
def settings(installation: Installation) -> Settings:
    return installation.settings(f"freehold_test_catalog_{secrets.token_hex(6)}")


@pytest.fixture(scope="session")
async def app(settings: Settings) -> AsyncIterator[FastAPI]:
    async with running(settings) as app:
        yield app


@pytest.fixture(scope="session")
async def replica(settings: Settings, app: FastAPI) -> AsyncIterator[FastAPI]:
    """A second process's worth of tenant-manager on the same catalog."""
    async with running(settings) as replica:
        yield replica


@pytest.fixture(scope="session")
async def manager(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """tenant-manager, asked with the operator's token unless a request says otherwise."""
    async with client_of(app) as client:
        yield client


@pytest.fixture(scope="session")
async def other_manager(replica: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(replica) as client:
        yield client
