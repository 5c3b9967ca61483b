"""Databases made ahead of their tenants: handed out whole and once, and none left behind."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import httpx
import pytest
from fastapi import FastAPI

from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.contracts.tenants import NewTenant
from freehold_tenant_manager.credentials.store import find_home
from freehold_tenant_manager.http.components import Components
from freehold_tenant_manager.provisioning.pool import Pool
from freehold_tenant_manager.provisioning.provisioner import Provisioner
from freehold_tenant_manager.server.roles import SERVICES
from freehold_tenant_manager.server.server import Server
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.crashes import dies
from integration.tenant_manager.databases import exists, is_complete
from integration.tenant_manager.installation import (
    KEY_RING,
    Installation,
    components_of,
    connected,
    new_tenant,
)
from support.waiting import eventually

SIZE = 3


@pytest.fixture
async def pool(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pool]:
    """One process's pool, which that process keeps full; in the end it is empty again."""
    pool = components_of(app).find(Pool)
    with monkeypatch.context() as patch:
        patch.setattr(pool, "_size", SIZE)
        yield pool
    await empty(components_of(app))


@pytest.fixture
async def still_pool(app: FastAPI, replica: FastAPI) -> AsyncIterator[Pool]:
    """A pool that is filled when the test says so; nobody else touches it."""
    manager = components_of(app)
    # Even a process that keeps none ready drops what nobody will be given.
    others = [components_of(process).find(Pool) for process in (app, replica)]
    for other in others:
        await other.close()
    pool = Pool(
        manager.find(Catalog),
        manager.find(Server),
        manager.find(Provisioner)._databases,
        KEY_RING,
        cluster=manager.find(Settings).cluster,
        size=1,
    )
    yield pool
    for other in others:
        await other.open()
    await empty(manager)


async def empty(manager: Components) -> None:
    """Have all of the pool dropped."""
    await manager.find(Catalog).execute("UPDATE pool_databases SET is_ready = false")

    async def is_empty() -> bool:
        return not await manager.find(Catalog).fetch("SELECT FROM pool_databases")

    await eventually(is_empty, "the pool is empty")


async def ready(manager: Components) -> set[str]:
    rows = await manager.find(Catalog).fetch(
        "SELECT database_name FROM pool_databases WHERE is_ready"
    )
    return {row["database_name"] for row in rows}


async def full(manager: Components) -> set[str]:
    """Wait until the pool is full, and give what is in it."""

    async def look() -> set[str] | None:
        names = await ready(manager)
        return names if len(names) >= SIZE else None

    return await eventually(look, "the pool is full")


async def test_the_pool_fills_by_itself_and_is_filled_up_again(
    pool: Pool, app: FastAPI, manager: httpx.AsyncClient
) -> None:
    assert pool
    names = await full(components_of(app))
    answer = await manager.post("/v1/tenants", json=new_tenant())
    assert answer.status_code == 201
    given = answer.json()["tenant"]["home"]["database"]
    assert given in names
    again = await full(components_of(app))
    assert len(again) == SIZE
    assert given not in again


async def test_a_tenant_owns_the_whole_database_from_the_pool(
    still_pool: Pool, app: FastAPI, manager: httpx.AsyncClient, installation: Installation
) -> None:
    await still_pool.refill()
    (name,) = await ready(components_of(app))
    assert await is_complete(installation, name)
    wanted = new_tenant()
    answer = await manager.post("/v1/tenants", json=wanted)
    assert answer.json()["tenant"]["home"]["database"] == name
    assert answer.json()["tenant"]["status"] == "active"
    async with components_of(app).find(Catalog).connection() as catalog:
        homes = [
            await find_home(catalog, KEY_RING, wanted["tenant_id"], service) for service in SERVICES
        ]
        assert await catalog.fetch(
            "SELECT FROM reconciliations WHERE tenant_id = $1", wanted["tenant_id"]
        )
    for home in homes:
        assert home is not None
        async with connected(home) as connection:
            assert await connection.fetchval("SELECT current_user") == home.role
    again = await manager.post("/v1/tenants", json=wanted)
    assert again.status_code == 200
    assert again.json() == {"tenant": answer.json()["tenant"]}


async def test_where_the_pool_is_empty_databases_are_made(
    pool: Pool, app: FastAPI, manager: httpx.AsyncClient, other_manager: httpx.AsyncClient
) -> None:
    assert pool
    await full(components_of(app))
    answers = await asyncio.gather(
        *(asked.post("/v1/tenants", json=new_tenant()) for asked in (manager, other_manager) * 4)
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["tenant"]["home"]["database"] for answer in answers}) == 8


async def test_a_database_made_with_other_settings_is_not_used_and_is_dropped(
    still_pool: Pool, app: FastAPI, manager: httpx.AsyncClient, installation: Installation
) -> None:
    await still_pool.refill()
    catalog = components_of(app).find(Catalog)
    (name,) = await ready(components_of(app))
    await catalog.execute("UPDATE pool_databases SET made_as = 'by another release'")
    answer = await manager.post("/v1/tenants", json=new_tenant())
    assert answer.json()["tenant"]["home"]["database"] != name
    # The other release may be running still.
    await still_pool.refill()
    assert len(await ready(components_of(app))) == 2
    await catalog.execute(
        "UPDATE pool_databases SET changed_at = now() - interval '1 day' WHERE database_name = $1",
        name,
    )
    await still_pool.refill()
    assert name not in await ready(components_of(app))
    assert not await exists(installation, name)


async def test_an_interrupted_refill_leaves_nothing(
    still_pool: Pool, app: FastAPI, installation: Installation
) -> None:
    catalog = components_of(app).find(Catalog)
    for statements in count():
        died = await dies(still_pool.refill(), statements)
        begun = {
            row["database_name"]: row["is_ready"]
            for row in await catalog.fetch("SELECT database_name, is_ready FROM pool_databases")
        }
        assert len(begun) <= 1
        if not died:
            break
        # The lock may be held for as long as the server works for the dead.
        await eventually(lambda: _is_whole(still_pool, components_of(app)), "the pool is whole")
        for name, was_ready in begun.items():
            assert await exists(installation, name) is was_ready
        (name,) = await ready(components_of(app))
        assert await is_complete(installation, name)
        await catalog.execute("UPDATE pool_databases SET is_ready = false")
    assert statements > 15


async def _is_whole(pool: Pool, manager: Components) -> bool:
    await pool.refill()
    rows = await manager.find(Catalog).fetch("SELECT is_ready FROM pool_databases")
    return [row["is_ready"] for row in rows] == [True]


async def test_an_interrupted_creation_from_the_pool_is_completed_by_the_same_request(
    still_pool: Pool,
    app: FastAPI,
    replica: FastAPI,
    manager: httpx.AsyncClient,
    installation: Installation,
) -> None:
    for statements in count():
        await still_pool.refill()
        (name,) = await ready(components_of(app))
        wanted = new_tenant()
        created = components_of(replica).find(Provisioner).create(NewTenant(**wanted))
        if not await dies(created, statements):
            break
        shown = await manager.get(f"/v1/tenants/{wanted['tenant_id']}")
        # All of it, or nothing.
        was_active = shown.status_code == 200
        assert was_active is (name not in await ready(components_of(app)))
        answer = await manager.post("/v1/tenants", json=wanted)
        assert answer.status_code == (200 if was_active else 201), statements
        assert answer.json()["tenant"]["status"] == "active"
        assert await is_complete(installation, answer.json()["tenant"]["home"]["database"])
        assert await exists(installation, name)
    assert statements > 8


async def test_a_database_that_cannot_be_dropped_delays_nobody(
    still_pool: Pool, app: FastAPI, installation: Installation
) -> None:
    await still_pool.refill()
    (stuck,) = await ready(components_of(app))
    await components_of(app).find(Catalog).execute("UPDATE pool_databases SET is_ready = false")
    async with installation.superuser() as superuser:
        # No database that is a template can be dropped.
        await superuser.execute(f"ALTER DATABASE {stuck} IS_TEMPLATE true")
        with pytest.raises(ExceptionGroup, match="not dropped"):
            await still_pool.refill()
        assert len(await ready(components_of(app))) == 1
        await superuser.execute(f"ALTER DATABASE {stuck} IS_TEMPLATE false")

    async def is_dropped() -> bool:
        # Another process may have its turn just then.
        await still_pool.refill()
        return not await exists(installation, stuck)

    await eventually(is_dropped, "what can be dropped is dropped")


async def test_two_processes_fill_one_pool(
    pool: Pool, app: FastAPI, replica: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_pool = components_of(replica).find(Pool)
    with monkeypatch.context() as patch:
        patch.setattr(other_pool, "_size", SIZE)
        await full(components_of(app))
        for _ in range(5):
            await asyncio.gather(pool.refill(), other_pool.refill())
        assert len(await ready(components_of(app))) == SIZE
