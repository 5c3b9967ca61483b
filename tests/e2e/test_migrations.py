"""Ledgers brought up to date: asked for once, looked at until it is done."""

import asyncio

from support.answers import found, pointers, problem
from support.clients import Freehold, Tenant
from support.documents import Document
from support.waiting import ALL_TENANTS_S


async def begun(freehold: Freehold, body: Document | bytes | None) -> str:
    answer = await freehold.manage("POST", "/migrations", body)
    assert answer.status_code == 202, answer.text
    assert (answer.json()["kind"], answer.json()["tenant_id"]) == ("migration", None)
    operation_id: str = answer.json()["operation_id"]
    return operation_id


async def test_a_current_tenant_is_not_migrated(freehold: Freehold, tenant: Tenant) -> None:
    event = await tenant.append()
    for phase in ("before", "after"):
        body = {"phase": phase, "tenants": [tenant.tenant_id]}
        # One of all tenants may go on before it.
        done = await freehold.end_of(await begun(freehold, body), within_s=ALL_TENANTS_S)
        assert (done.status, done.progress) == ("succeeded", 1)
        assert done.result is not None
        assert done.result["tenants"] == 1
    assert (await tenant.append()).seq == event.seq + 1
    assert (await tenant.caught_up()).head_seq == event.seq + 1
    overview = found(await freehold.manage("GET", "/migrations", params={"limit": 1}))
    assert overview["ledger_version"] >= overview["ledger_version_min"]
    assert sum(overview["statuses"].values()) == sum(
        version["tenants"] for version in overview["versions"]
    )
    assert len(overview["data"]) == 1


async def test_by_default_all_tenants_are_migrated_before_the_deploy(
    freehold: Freehold, tenant: Tenant
) -> None:
    bodies: list[Document | bytes | None] = [None, b"", {}, {"phase": "before", "tenants": None}]
    # At once: requests that mean the same are one operation while it runs.
    asked = await asyncio.gather(*(begun(freehold, body) for body in bodies))
    for operation in set(asked):
        result = await freehold.result_of(operation, within_s=ALL_TENANTS_S)
        assert result["phase"] == "before"
        assert result["tenants"] >= 1
    assert (await tenant.append()).seq == 1


async def test_a_migrations_body_is_json_or_nothing(freehold: Freehold) -> None:
    problem(await freehold.manage("POST", "/migrations", b" "), "malformed-json")


async def test_an_unknown_tenant_cannot_be_migrated(freehold: Freehold, tenant: Tenant) -> None:
    body = {"tenants": [tenant.tenant_id, "unknown-tenant"]}
    assert pointers(await freehold.manage("POST", "/migrations", body)) == ["/tenants/1"]
