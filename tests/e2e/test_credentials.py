"""The customer's own way into their database, and passwords that are replaced."""

import asyncpg
import httpx
import pytest

from support.answers import found, pointers, problem
from support.clients import Freehold, Tenant
from support.documents import Document


@pytest.mark.local
async def test_a_customer_reads_and_verifies_their_own_ledger(
    freehold: Freehold, tenant: Tenant, other_tenant: Tenant
) -> None:
    event = await tenant.append()
    await tenant.caught_up()
    credentials = await credentials_of(freehold, tenant)
    connection = await asyncpg.connect(credentials["dsn"], timeout=10)
    try:
        proof = await connection.fetchrow("SELECT * FROM ledger.verify()")
        assert proof is not None
        assert (proof["ok"], proof["events_checked"]) == (True, 1)
        held = await connection.fetchval("SELECT event_id::text FROM ledger.ledger_events")
        assert held == event.event_id
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM ledger.ledger_events")
    finally:
        await connection.close(timeout=5)
    other = await credentials_of(freehold, other_tenant)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await enter({**credentials, "database": other["database"]})


@pytest.mark.local
async def test_a_password_that_was_replaced_opens_nothing_any_more(
    freehold: Freehold, tenant: Tenant
) -> None:
    old = await credentials_of(freehold, tenant)
    await enter(old)
    rotated = found(await rotate(freehold, tenant, {"service": "auditor"}))
    assert rotated["services"] == ["auditor"]
    new = await credentials_of(freehold, tenant)
    assert {name for name in new if new[name] != old[name]} == {"dsn", "password"}
    await enter(new)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await enter(old)

    rotated = found(await rotate(freehold, tenant))
    assert set(rotated["services"]) == {
        "auditor",
        "backup",
        "ingest",
        "manager",
        "projector",
        "query",
    }
    assert (await credentials_of(freehold, tenant))["password"] != new["password"]
    # The services have noticed nothing.
    await tenant.append()
    await tenant.caught_up()


async def test_credentials_are_for_the_operator_and_for_no_cache(
    freehold: Freehold, tenant: Tenant
) -> None:
    path = f"/tenants/{tenant.tenant_id}/credentials"
    answer = await freehold.manage("GET", path)
    assert answer.headers["cache-control"] == "no-store"
    url = f"{freehold.addresses.tenant_manager}/v1{path}"
    problem(await freehold.ask("GET", url, bearer=tenant.api_key), "unauthorized")
    problem(await freehold.ask("POST", f"{url}/rotate", bearer=tenant.api_key), "unauthorized")
    answer = await rotate(freehold, tenant)
    assert found(await freehold.manage("GET", path))["password"] not in answer.text


@pytest.mark.parametrize("body", [{"service": "owner"}, {"service": 1}, {"services": ["query"]}])
async def test_only_passwords_that_there_are_can_be_replaced(
    freehold: Freehold, refused_tenant: Tenant, body: Document
) -> None:
    assert pointers(await rotate(freehold, refused_tenant, body)) == [f"/{next(iter(body))}"]


async def test_an_unknown_tenant_has_no_credentials(freehold: Freehold) -> None:
    for method, path in (("GET", "credentials"), ("POST", "credentials/rotate")):
        problem(await freehold.manage(method, f"/tenants/unknown-tenant/{path}"), "not-found")


async def credentials_of(freehold: Freehold, tenant: Tenant) -> Document:
    return found(await freehold.manage("GET", f"/tenants/{tenant.tenant_id}/credentials"))


async def rotate(
    freehold: Freehold, tenant: Tenant, body: Document | None = None
) -> httpx.Response:
    path = f"/tenants/{tenant.tenant_id}/credentials/rotate"
    return await freehold.manage("POST", path, body)


async def enter(credentials: Document) -> None:
    """Log in, each part of the credentials by itself."""
    connection = await asyncpg.connect(
        host=credentials["host"],
        port=credentials["port"],
        database=credentials["database"],
        user=credentials["user"],
        password=credentials["password"],
        timeout=10,
    )
    await connection.close(timeout=5)
