"""Query as it is, in this process, in front of real databases."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from freehold.security.api_keys import ApiKey
from freehold_query.application import make_application
from freehold_query.settings import Settings
from integration.query.proxy import Proxy, proxy_to
from integration.query.tenants import CREDENTIAL_KEYS, Catalog, Tenant, new_catalog
from support.ledgers import Ledgers

Serve = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@asynccontextmanager
async def _serve(
    dsn: str, key: ApiKey | None = None, **choices: Any
) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(catalog_dsn=dsn, credential_keys=CREDENTIAL_KEYS, **choices)
    app = make_application(settings)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://query", headers=bearer(key)
        ) as client,
    ):
        yield client


def bearer(key: ApiKey | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key.text()}"} if key else {}


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Starts query; its settings may be chosen."""
    return _serve


@pytest.fixture(scope="session")
async def catalog(postgres_url: str, ledgers: Ledgers) -> AsyncIterator[Catalog]:
    async with new_catalog(postgres_url, ledgers) as catalog:
        yield catalog


@pytest.fixture
async def tenant(catalog: Catalog) -> AsyncIterator[Tenant]:
    async with catalog.tenant("acme") as tenant:
        yield tenant


@pytest.fixture
async def other_tenant(catalog: Catalog) -> AsyncIterator[Tenant]:
    async with catalog.tenant("bolt") as tenant:
        yield tenant


@pytest.fixture
async def query(serve: Serve, catalog: Catalog, tenant: Tenant) -> AsyncIterator[httpx.AsyncClient]:
    """Query, asked with the tenant's key unless a request says otherwise."""
    async with serve(catalog.dsn, tenant.key) as client:
        yield client


@pytest.fixture(scope="module")
async def still_tenant(catalog: Catalog) -> AsyncIterator[Tenant]:
    """A tenant for tests that change nothing once they run."""
    async with catalog.tenant("still") as tenant:
        yield tenant


@pytest.fixture(scope="module")
async def still_query(
    serve: Serve, catalog: Catalog, still_tenant: Tenant
) -> AsyncIterator[httpx.AsyncClient]:
    """Query, asked with that tenant's key."""
    async with serve(catalog.dsn, still_tenant.key) as client:
        yield client


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[Proxy]:
    """A way to the server that can fail."""
    address = urlsplit(postgres_url)
    async with proxy_to(address.hostname or "localhost", address.port or 5432) as proxy:
        yield proxy
