"""Who may read: keys, scopes, and what happens without the catalog."""

import asyncio

import httpx
import pytest

from freehold.security.api_keys import ApiKey, Scope, new_api_key
from integration.query.conftest import serve
from integration.query.proxy import Proxy
from integration.query.tenants import Landlord, Tenant, bearer
from support.answers import problem
from support.builders import new_event
from support.waiting import PATIENCE_S

ID = "019ca9a8-5a00-7000-8000-0007c0a8d5e1"
PATHS = [
    "/v1/accounts/cus_1/balances",
    "/v1/accounts/cus_1/balances/USD",
    "/v1/accounts/cus_1/statement",
    "/v1/balances",
    "/v1/totals",
    "/v1/events",
    f"/v1/events/{ID}",
    f"/v1/transactions/{ID}",
    f"/v1/holds/{ID}",
    "/v1/activity",
    "/v1/searchable-metadata",
    "/v1/stream",
    "/v1/lag",
]


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_key_nothing_is_answered(
    still_query: httpx.AsyncClient, still_tenant: Tenant, path: str
) -> None:
    """Not even whether the parameters were right."""
    for authorization in ("", "Bearer", "Bearer x", "Basic {0}", "{0}"):
        headers = {"Authorization": authorization.format(still_tenant.key.text())}
        answer = await still_query.get(f"{path}?as_of=now", headers=headers)
        problem(answer, "unauthorized")


async def test_a_wrong_secret_and_an_unknown_key_are_answered_alike(
    still_query: httpx.AsyncClient, still_tenant: Tenant
) -> None:
    stranger = new_api_key()
    mixed = ApiKey(still_tenant.key.key_id, stranger.secret)
    answers = [await still_query.get("/v1/lag", headers=bearer(key)) for key in (stranger, mixed)]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].content == answers[1].content


@pytest.mark.parametrize("path", PATHS)
async def test_a_key_without_the_scope_is_refused(
    still_query: httpx.AsyncClient, still_tenant: Tenant, landlord: Landlord, path: str
) -> None:
    key = await landlord.key(still_tenant, Scope.INGEST, Scope.EXPORT)
    answer = await still_query.get(path, headers=bearer(key))
    problem(answer, "missing-scope")


async def test_without_the_catalog_known_keys_go_on(
    landlord: Landlord, tenant: Tenant, proxy: Proxy
) -> None:
    await tenant.append(new_event("cus_1", 5))
    await tenant.project()
    unknown = bearer(await landlord.key(tenant, Scope.READ))
    async with serve(landlord.dsn(port=proxy.port), tenant) as client:
        await ready(client, 200)
        assert (await client.get("/v1/accounts/cus_1/balances")).status_code == 200
        await proxy.stop()
        await ready(client, 503)
        assert (await client.get("/v1/accounts/cus_1/balances")).status_code == 200
        answer = await client.get("/v1/lag", headers=unknown)
        problem(answer, "unavailable")
        assert (await client.get("/healthz")).status_code == 200
        await proxy.start()
        await ready(client, 200)
        assert (await client.get("/v1/lag", headers=unknown)).status_code == 200


async def test_query_starts_before_the_catalog(
    landlord: Landlord, tenant: Tenant, proxy: Proxy
) -> None:
    await proxy.stop()
    async with serve(landlord.dsn(port=proxy.port), tenant) as client:
        assert (await client.get("/v1/lag")).status_code == 503
        await ready(client, 503)
        await proxy.start()
        await ready(client, 200)
        assert (await client.get("/v1/lag")).status_code == 200


async def ready(client: httpx.AsyncClient, status: int) -> None:
    """Wait until readiness is so."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await client.get("/readyz")
            if answer.status_code == status:
                assert answer.json()["checks"] == {"catalog": status == 200, "clock": True}
                return
            await asyncio.sleep(0.02)
