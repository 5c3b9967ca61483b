"""Query as it is, in this process, in front of real databases."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from freehold_query.application import make_application
from freehold_query.settings import Settings
from integration.query.proxy import Proxy, proxy_to
from integration.query.tenants import Landlord, Tenant, new_landlord
from integration.tenant_manager.installation import CREDENTIAL_KEYS, Installation


@asynccontextmanager
async def serve(dsn: str, tenant: Tenant, **choices: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Run query; it is asked with the tenant's key unless a request says otherwise."""
    settings = Settings(catalog_dsn=dsn, credential_keys=CREDENTIAL_KEYS, **choices)
    app = make_application(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://query",
            headers=tenant.authorization,
        ) as client,
    ):
        yield client


@pytest.fixture(scope="session")
async def landlord(installation: Installation) -> AsyncIterator[Landlord]:
    catalog = f"freehold_test_catalog_{secrets.token_hex(6)}"
    async with new_landlord(installation, catalog) as landlord:
        yield landlord


@pytest.fixture
async def query(landlord: Landlord, tenant: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(landlord.dsn(), tenant) as client:
        yield client


@pytest.fixture(scope="module")
async def still_tenant(landlord: Landlord) -> AsyncIterator[Tenant]:
    """A tenant for tests that change nothing once they run."""
    async with landlord.tenant() as tenant:
        yield tenant


@pytest.fixture(scope="module")
async def still_query(landlord: Landlord, still_tenant: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    """Query, asked with that tenant's key."""
    async with serve(landlord.dsn(), still_tenant) as client:
        yield client


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[Proxy]:
    """A way to the server that can fail."""
    address = httpx.URL(postgres_url)
    async with proxy_to(address.host or "localhost", address.port or 5432) as proxy:
        yield proxy
