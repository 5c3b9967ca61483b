"""Waiting for databases: the line is bounded, and each request in it is served."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from freehold.contracts.errors import Overloaded
from freehold.tenants import catalog as catalog_module
from freehold.tenants import connections as connections_module
from freehold.tenants.catalog import Catalog
from freehold.tenants.connections import TenantConnections
from freehold.tenants.homes import Home
from support.homes import new_home

LINE = 3
TIMEOUT_S = 20


@pytest.fixture
def home(postgres_url: str) -> Home:
    return new_home(postgres_url, database="postgres", schema="public")


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
    # A request with a connection counts like those that wait for one.
    monkeypatch.setattr(catalog_module, "_ASKING_MAX", LINE + 1)
    catalog = Catalog(postgres_url, application="test", timeout_s=TIMEOUT_S, pool_max=1)
    await catalog.open()
    yield catalog
    await catalog.close()


async def test_the_queue_for_a_tenants_connections_is_bounded(
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


async def test_the_queue_for_the_catalog_is_bounded(catalog: Catalog) -> None:
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
    with pytest.raises(Overloaded) as refused:
        await asking
    assert refused.value.retry_after_s
    assert time.monotonic() - started < TIMEOUT_S / 2
