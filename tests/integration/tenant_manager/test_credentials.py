"""Tenants' passwords in the catalog: replaced together with the roles' own, and sealed anew."""

import asyncio
import base64
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from freehold.tenants.catalog import Catalog
from freehold.tenants.directory import Directory
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.installation import (
    CREDENTIAL_KEYS,
    KEY_RING,
    Installation,
    client_of,
    connected,
    make_tenant,
    running,
)
from support.waiting import eventually

ASKING = 100
NEWER_KEY = "newer:" + base64.b64encode(bytes(range(32, 64))).decode()


@pytest.fixture
async def tenant(manager: httpx.AsyncClient) -> str:
    return await make_tenant(manager)


@pytest.fixture
async def catalog(installation: Installation, settings: Settings) -> AsyncIterator[Catalog]:
    """The catalog as query sees it, deaf to its notices."""
    catalog = installation.catalog(settings, "query")
    await catalog.open()
    yield catalog
    await catalog.close()


async def test_a_directory_that_missed_the_notice_gets_the_new_password(
    manager: httpx.AsyncClient, tenant: str, catalog: Catalog
) -> None:
    directory = Directory(catalog, KEY_RING)
    old = await directory.home(tenant)
    assert old is not None
    answer = await manager.post(f"/v1/tenants/{tenant}/credentials/rotate")
    assert answer.status_code == 200
    assert await directory.home(tenant) is old
    with pytest.raises(asyncpg.InvalidPasswordError):
        async with connected(old):
            pass
    homes = await asyncio.gather(*(directory.renewed(old) for _ in range(ASKING)))
    assert len({id(home) for home in homes}) == 1
    assert homes[0] is not None
    async with connected(homes[0]) as connection:
        assert await connection.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("rotated", [False, True])
async def test_passwords_are_hashed_as_often_as_their_drivers_want(
    manager: httpx.AsyncClient, tenant: str, installation: Installation, *, rotated: bool
) -> None:
    if rotated:
        answer = await manager.post(f"/v1/tenants/{tenant}/credentials/rotate")
        assert answer.status_code == 200
    database = (await manager.get(f"/v1/tenants/{tenant}/credentials")).json()["database"]
    async with installation.superuser() as superuser:
        rows = await superuser.fetch(
            "SELECT substr(rolname, length($1) + 2) AS service,"
            " split_part(rolpassword, ':', 1) AS way"
            " FROM pg_authid WHERE starts_with(rolname, $1) AND rolcanlogin",
            database,
        )
    assert {row["service"]: row["way"] for row in rows} == {
        "ingest": "SCRAM-SHA-256$64",
        "projector": "SCRAM-SHA-256$64",
        "query": "SCRAM-SHA-256$64",
        "manager": "SCRAM-SHA-256$64",
        "backup": "SCRAM-SHA-256$64",
        "auditor": "SCRAM-SHA-256$4096",
    }


async def test_rotations_at_once_leave_one_password_that_works(
    manager: httpx.AsyncClient, other_manager: httpx.AsyncClient, tenant: str, catalog: Catalog
) -> None:
    path = f"/v1/tenants/{tenant}/credentials/rotate"
    answers = await asyncio.gather(
        *(each.post(path) for each in (manager, other_manager) for _ in range(3))
    )
    assert {answer.status_code for answer in answers} == {200}
    home = await Directory(catalog, KEY_RING).home(tenant)
    assert home is not None
    async with connected(home) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_newer_key_seals_all_passwords_and_the_older_one_can_go(
    installation: Installation,
) -> None:
    settings = installation.settings()
    name = settings.catalog_name
    async with running(settings) as app, client_of(app) as client:
        path = f"/v1/tenants/{await make_tenant(client)}/credentials"
        before = (await client.get(path)).json()

    both = installation.settings(name, credential_keys=f"{NEWER_KEY},{CREDENTIAL_KEYS}")
    async with running(both), installation.superuser(name) as superuser:

        async def sealed_anew() -> bool:
            keys = await superuser.fetch("SELECT DISTINCT sealing_key_id FROM catalog.credentials")
            return [row[0] for row in keys] == ["newer"]

        await eventually(sealed_anew, "all passwords are sealed with the newer key")

    newer = installation.settings(name, credential_keys=NEWER_KEY)
    async with running(newer) as app, client_of(app) as client:
        assert (await client.get(path)).json() == before


async def test_customers_get_their_own_address(installation: Installation) -> None:
    settings = installation.settings(customer_host="::1", customer_port=6432)
    async with running(settings) as app, client_of(app) as client:
        path = f"/v1/tenants/{await make_tenant(client)}/credentials"
        told = (await client.get(path)).json()
    assert (told["host"], told["port"]) == ("::1", 6432)
    assert f"@[::1]:6432/{told['database']}" in told["dsn"]
