"""A tenant leaves: with everything they had, and nothing of it is left behind."""

import asyncpg
import httpx
import pytest

from freehold_client.generated.models import Operation
from support.answers import found, pointers, problem
from support.clients import Freehold, Tenant, event_body
from support.documents import Document

EVENTS = 300


async def delete(
    freehold: Freehold, tenant_id: str, params: Document | None = None
) -> httpx.Response:
    confirmed = {"confirm": tenant_id} if params is None else params
    return await freehold.manage("DELETE", f"/tenants/{tenant_id}", params=confirmed)


async def deleted(freehold: Freehold, tenant: Tenant) -> Operation:
    """Have a tenant deleted, and give the operation as it ended."""
    asked = await freehold.operator.delete_tenant(tenant.tenant_id, confirm=tenant.tenant_id)
    assert (asked.kind, asked.tenant_id) == ("delete", tenant.tenant_id)
    return await freehold.end_of(asked, within_s=120)


async def test_a_deleted_tenant_gets_the_whole_ledger_as_a_final_export(
    freehold: Freehold, tenant: Tenant, other_tenant: Tenant
) -> None:
    await tenant.append_batch([event_body(account_id=f"cus_{n}") for n in range(EVENTS)])
    await other_tenant.append()
    # Services and the customer are connected, and some of it is not projected yet.
    await tenant.all_balances()
    path = f"/tenants/{tenant.tenant_id}"

    operation = await deleted(freehold, tenant)
    assert (operation.status, operation.progress) == ("succeeded", 1), operation
    assert operation.result is not None
    assert operation.result["backup_id"]

    shown = found(await freehold.manage("GET", path))
    assert shown["status"] == "deleted"
    assert shown["deleted_at"]
    assert shown["head"] is None
    assert [tenant.tenant_id] == [
        listed["tenant_id"]
        for listed in found(await freehold.manage("GET", "/tenants?status=deleted&limit=1000"))[
            "data"
        ]
        if listed["tenant_id"] == tenant.tenant_id
    ]
    for answer in (await tenant.post("/events", event_body()), await tenant.get("/balances")):
        problem(answer, "unauthorized")

    export = await freehold.manage("GET", f"{path}/export")
    assert export.status_code == 200
    assert "attachment" in export.headers["content-disposition"]
    assert export.text.startswith("\\set ON_ERROR_STOP on\n")
    assert "\n-- PostgreSQL database dump\n" in export.text
    assert export.text.rstrip().splitlines()[-1].startswith(("-- PostgreSQL", "\\unrestrict"))
    assert f"cus_{EVENTS - 1}\t" in export.text
    answer = await freehold.manage("GET", f"{path}/export", params={"format": "custom"})
    assert pointers(answer) == ["/format"]

    # The id is never given again, and no other tenant is affected.
    wanted = {"tenant_id": tenant.tenant_id, "name": "A tenant of the tests"}
    problem(await freehold.manage("POST", "/tenants", wanted), "tenant-exists")
    await other_tenant.append()
    assert (await other_tenant.caught_up()).head_seq == 2


@pytest.mark.local
async def test_a_connected_customer_does_not_delay_a_deletion(
    freehold: Freehold, tenant: Tenant
) -> None:
    path = f"/tenants/{tenant.tenant_id}/credentials"
    credentials = found(await freehold.manage("GET", path))
    customer = await asyncpg.connect(credentials["dsn"], timeout=10)
    await customer.execute("BEGIN; SELECT count(*) FROM ledger.ledger_events")
    assert (await deleted(freehold, tenant)).status == "succeeded"
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await customer.execute("SELECT 1")
    # The database is gone, and so is the role.
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(credentials["dsn"], timeout=10)


async def test_a_suspended_tenant_can_be_deleted(freehold: Freehold, tenant: Tenant) -> None:
    await freehold.operator.suspend_tenant(tenant.tenant_id)
    assert (await deleted(freehold, tenant)).status == "succeeded"


async def test_nothing_more_is_done_for_a_deleted_tenant(
    freehold: Freehold, tenant: Tenant
) -> None:
    assert (await deleted(freehold, tenant)).status == "succeeded"
    own = f"/tenants/{tenant.tenant_id}"
    for method, path, body in (
        ("POST", "/suspend", None),
        ("POST", "/resume", None),
        ("POST", "/api-keys", {"scopes": ["read"]}),
        ("POST", f"/api-keys/{tenant.key_id}/rotate", None),
        ("GET", "/credentials", None),
        ("POST", "/credentials/rotate", None),
        ("POST", "/backups", None),
    ):
        problem(await freehold.manage(method, own + path, body), "tenant-deleted")
    problem(await delete(freehold, tenant.tenant_id), "tenant-deleted")
    (key,) = found(await freehold.manage("GET", f"{own}/api-keys"))["data"]
    assert key["revoked_at"]


@pytest.mark.parametrize("params", [{}, {"confirm": ""}, {"confirm": "another-tenant"}])
async def test_a_deletion_is_confirmed_with_the_tenants_id(
    freehold: Freehold, tenant: Tenant, params: Document
) -> None:
    answer = await delete(freehold, tenant.tenant_id, params)
    assert pointers(answer) == ["/confirm"]
    assert found(await freehold.manage("GET", f"/tenants/{tenant.tenant_id}"))["status"] == "active"
    await tenant.append()


async def test_an_unknown_tenant_cannot_be_deleted(freehold: Freehold) -> None:
    problem(await delete(freehold, "unknown-tenant"), "not-found")
