"""Waiting for databases: in a line that has an end, and whoever is in it is served."""

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from freehold.contracts.problems import OVERLOADED, Problem
from freehold.ledger.schema import LEDGER_VERSION
from freehold.tenancy import catalog as catalog_module
from freehold.tenancy import connections as connections_module
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.homes import Home

LINE = 3
TIMEOUT_S = 20


@pytest.fixture
def home(postgres_url: str) -> Home:
    parts = urlsplit(postgres_url)
    return Home(
        "acme",
        1,
        parts.hostname or "localhost",
        parts.port or 5432,
        "postgres",
        "public",
        LEDGER_VERSION,
        parts.username or "",
        parts.password or "",
    )


@pytest.fixture
async def connections(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TenantConnections]:
    monkeypatch.setattr(connections_module, "_WAITING_MAX", LINE)
    connections = TenantConnections(
        application="test", connections_max=1, per_tenant_max=1, idle_s=60, timeout_s=TIMEOUT_S
    )
    yield connections
    await connections.close()


@pytest.fixture
async def catalog(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Catalog]:
    # Whoever has a connection is counted with those who wait for one.
    monkeypatch.setattr(catalog_module, "_ASKING_MAX", LINE + 1)
    catalog = Catalog(postgres_url, application="test", timeout_s=TIMEOUT_S, pool_max=1)
    await catalog.open()
    yield catalog
    await catalog.close()


async def test_the_line_for_a_tenants_connections_has_an_end(
    connections: TenantConnections, home: Home
) -> None:
    async def ask() -> int:
        async with connections.use(home) as connection:
            return int(await connection.fetchval("SELECT 1"))

    async with connections.use(home):
        waiting = [asyncio.create_task(ask()) for _ in range(LINE)]
        await asyncio.sleep(0)
        await refused_at_once(asyncio.create_task(ask()))
        # Who gives up leaves room for another.
        waiting.pop(0).cancel()
        await asyncio.sleep(0)
        waiting.append(asyncio.create_task(ask()))
        await asyncio.sleep(0)
        await refused_at_once(asyncio.create_task(ask()))
    assert await asyncio.gather(*waiting) == [1] * LINE


async def test_the_line_for_the_catalog_has_an_end(catalog: Catalog) -> None:
    async def ask() -> int:
        row = await catalog.fetchrow("SELECT 1 AS one")
        assert row is not None
        return int(row["one"])

    async with catalog.connection():
        waiting = [asyncio.create_task(ask()) for _ in range(LINE)]
        await asyncio.sleep(0)
        await refused_at_once(asyncio.create_task(ask()))
    assert await asyncio.gather(*waiting) == [1] * LINE
    assert await ask() == 1


async def refused_at_once(asking: asyncio.Task[int]) -> None:
    started = time.monotonic()
    with pytest.raises(Problem) as refused:
        await asking
    assert refused.value.kind is OVERLOADED
    assert int(refused.value.headers["Retry-After"]) > 0
    assert time.monotonic() - started < TIMEOUT_S / 2
