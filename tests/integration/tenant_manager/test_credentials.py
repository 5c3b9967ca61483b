"""Tenants' passwords in the catalog: replaced together with the roles' own, and sealed anew."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from freehold.security.sealing import KeyRing
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.directory import Directory
from freehold_tenant_manager.settings import Settings
from integration.tenant_manager.installation import (
    CREDENTIAL_KEYS,
    Installation,
    client_of,
    connected,
    new_tenant,
    running,
    service_password,
)
from support.waiting import eventually

ASKING = 100
NEWER_KEY = "newer:" + base64.b64encode(bytes(range(32, 64))).decode()


@pytest.fixture
async def tenant(manager: httpx.AsyncClient) -> str:
    wanted = new_tenant()
    assert (await manager.post("/v1/tenants", json=wanted)).status_code == 201
    return str(wanted["tenant_id"])


@pytest.fixture
async def catalog(installation: Installation, settings: Settings) -> AsyncIterator[Catalog]:
    """The catalog as query sees it, deaf to its notices."""
    dsn = installation.url(settings.catalog_name, "freehold_query", service_password("query"))
    catalog = Catalog(dsn, application="test", timeout_s=5)
    await catalog.open()
    yield catalog
    await catalog.close()


async def test_whoever_missed_the_notice_is_told_the_new_password_when_asking(
    manager: httpx.AsyncClient, tenant: str, catalog: Catalog
) -> None:
    directory = Directory(catalog, KeyRing(CREDENTIAL_KEYS))
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
    home = await Directory(catalog, KeyRing(CREDENTIAL_KEYS)).home(tenant)
    assert home is not None
    async with connected(home) as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_newer_key_seals_all_passwords_and_the_older_one_can_go(
    installation: Installation,
) -> None:
    name = f"freehold_test_catalog_{secrets.token_hex(6)}"
    wanted = new_tenant()
    path = f"/v1/tenants/{wanted['tenant_id']}/credentials"
    settings = installation.settings(name)
    async with running(settings) as app, client_of(app) as client:
        await client.post("/v1/tenants", json=wanted)
        before = (await client.get(path)).json()

    both = installation.settings(name, credential_keys=f"{NEWER_KEY},{CREDENTIAL_KEYS}")
    async with running(both), installation.superuser(name) as superuser:

        async def sealed_anew() -> bool:
            keys = await superuser.fetch(
                "SELECT DISTINCT sealing_key_id FROM catalog.tenant_credentials"
            )
            return [row[0] for row in keys] == ["newer"]

        await eventually(sealed_anew, "all passwords are sealed with the newer key")

    newer = installation.settings(name, credential_keys=NEWER_KEY)
    async with running(newer) as app, client_of(app) as client:
        assert (await client.get(path)).json() == before


async def test_customers_are_told_the_address_that_is_theirs(installation: Installation) -> None:
    name = f"freehold_test_catalog_{secrets.token_hex(6)}"
    settings = installation.settings(name, customer_host="::1", customer_port=6432)
    wanted = new_tenant()
    async with running(settings) as app, client_of(app) as client:
        await client.post("/v1/tenants", json=wanted)
        told = (await client.get(f"/v1/tenants/{wanted['tenant_id']}/credentials")).json()
    assert (told["host"], told["port"]) == ("::1", 6432)
    assert f"@[::1]:6432/{told['database']}" in told["dsn"]
