"""The directory: what it keeps of the catalog, and how it stands up to those who guess keys."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from freehold.ledger.client import Record
from freehold.security.api_keys import ApiKey, Scope, new_api_key, parse_api_key
from freehold.tenants import directory as directory_module
from freehold.tenants.catalog import Catalog
from freehold.tenants.directory import Directory
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.installation import (
    KEY_RING,
    Installation,
    new_tenant,
    service_password,
)
from support.waiting import PATIENCE_S


class CountingCatalog(Catalog):
    """The catalog, which counts what it is asked."""

    asked = 0

    async def fetch(self, query: str, *arguments: Any) -> list[Record]:
        self.asked += 1
        return await super().fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> Record | None:
        self.asked += 1
        return await super().fetchrow(query, *arguments)


@pytest.fixture
async def tenant(manager: httpx.AsyncClient) -> tuple[str, ApiKey]:
    """A new tenant and their key."""
    wanted = new_tenant()
    key = parse_api_key((await manager.post("/v1/tenants", json=wanted)).json()["api_key"])
    assert key
    return wanted["tenant_id"], key


@pytest.fixture
async def catalog(
    installation: Installation, settings: Settings, tenant: tuple[str, ApiKey]
) -> CountingCatalog:
    dsn = installation.url(settings.catalog_name, "freehold_query", service_password("query"))
    return CountingCatalog(dsn, application="test", timeout_s=5)


@pytest.fixture
async def directory(catalog: CountingCatalog) -> AsyncIterator[Directory]:
    """A directory that hears of changes."""
    directory = Directory(catalog, KEY_RING)
    await catalog.open(directory.changed)
    while not catalog.reachable:  # noqa: ASYNC110 (as others do)
        await asyncio.sleep(0.01)
    yield directory
    await catalog.close()


@pytest.fixture
async def deaf_directory(catalog: CountingCatalog) -> AsyncIterator[Directory]:
    """A directory that misses every change."""
    await catalog.open()
    yield Directory(catalog, KEY_RING)
    await catalog.close()


async def test_an_unknown_key_is_looked_up_once(
    directory: Directory, catalog: CountingCatalog
) -> None:
    stranger = new_api_key()
    for _ in range(100):
        assert await directory.caller(stranger) is None
    assert catalog.asked == 1


async def test_a_key_that_was_unknown_works_once_it_is_made(
    directory: Directory,
    monkeypatch: pytest.MonkeyPatch,
    tenant: tuple[str, ApiKey],
    installation: Installation,
    settings: Settings,
) -> None:
    # That it is unknown is remembered for longer than the test lasts: only the notice ends it.
    monkeypatch.setattr(directory_module, "_UNKNOWN_S", 2 * PATIENCE_S)
    key = new_api_key()
    assert await directory.caller(key) is None
    await _insert(installation, settings, tenant[0], key)
    async with asyncio.timeout(PATIENCE_S):
        while await directory.caller(key) is None:  # noqa: ASYNC110 (as others do)
            await asyncio.sleep(0.01)


async def test_a_missed_notice_costs_a_new_key_seconds_only(
    deaf_directory: Directory,
    tenant: tuple[str, ApiKey],
    installation: Installation,
    settings: Settings,
) -> None:
    key = new_api_key()
    assert await deaf_directory.caller(key) is None
    await _insert(installation, settings, tenant[0], key)
    async with asyncio.timeout(PATIENCE_S):
        while await deaf_directory.caller(key) is None:  # noqa: ASYNC110 (as others do)
            await asyncio.sleep(0.05)


async def test_a_new_key_does_not_wait_for_those_unknown(
    directory: Directory, tenant: tuple[str, ApiKey], manager: httpx.AsyncClient
) -> None:
    for _ in range(100):
        await directory.caller(new_api_key())
    created = await manager.post(f"/v1/tenants/{tenant[0]}/api-keys", json={"scopes": ["read"]})
    key = parse_api_key(created.json()["api_key"])
    assert key
    assert await directory.caller(key)


async def test_a_flood_of_guessed_keys_delays_nobody(
    directory: Directory, catalog: CountingCatalog, tenant: tuple[str, ApiKey]
) -> None:
    """Each with another key, so that remembering them is of no use."""
    guesses = [asyncio.create_task(directory.caller(new_api_key())) for _ in range(20_000)]
    await asyncio.sleep(0)
    assert await directory.caller(tenant[1])
    # It came after them and waited for few looks into the catalog: they look together.
    assert catalog.asked < 10
    assert not any(await asyncio.gather(*guesses))


async def test_guessed_keys_do_not_evict_known_ones(
    directory: Directory, catalog: CountingCatalog, tenant: tuple[str, ApiKey]
) -> None:
    assert await directory.caller(tenant[1])
    for _ in range(100):
        await asyncio.gather(*(directory.caller(new_api_key()) for _ in range(120)))
    asked = catalog.asked
    assert await directory.caller(tenant[1])
    assert catalog.asked == asked


async def test_requests_that_come_together_ask_once_for_key_and_home(
    directory: Directory, catalog: CountingCatalog, tenant: tuple[str, ApiKey]
) -> None:
    callers = await asyncio.gather(*(directory.caller(tenant[1]) for _ in range(100)))
    homes = {id(caller.home) for caller in callers if caller}
    assert len(homes) == 1
    assert catalog.asked == 2


async def test_a_lookup_after_a_change_sees_the_change(
    directory: Directory, catalog: CountingCatalog, tenant: tuple[str, ApiKey]
) -> None:
    before = asyncio.create_task(directory.home(tenant[0]))
    while not catalog.asked:  # noqa: ASYNC110 (as others do)
        await asyncio.sleep(0)
    directory.changed(f"tenant:{tenant[0]}")
    after = await directory.home(tenant[0])
    assert await before is not after
    assert catalog.asked == 2
    assert await directory.home(tenant[0]) is after


async def _insert(
    installation: Installation, settings: Settings, tenant_id: str, key: ApiKey
) -> None:
    """Make a key whose id was known before, as tenant-manager never does."""
    async with installation.superuser(settings.catalog_name) as connection:
        await connection.execute(
            "INSERT INTO catalog.api_keys (key_id, tenant_id, secret_hash, scopes)"
            " VALUES ($1, $2, $3, $4)",
            key.key_id,
            tenant_id,
            key.secret_hash(),
            [Scope.READ.value],
        )
