"""A tenant leaves: with everything they had, and nothing of it is left behind."""

import asyncpg
import httpx
import pytest

from support.clients import Document, Freehold, Tenant, event_body, found, pointers, problem
from support.waiting import eventually

EVENTS = 300


async def delete(
    freehold: Freehold, tenant_id: str, params: Document | None = None
) -> httpx.Response:
    confirmed = {"confirm": tenant_id} if params is None else params
    return await freehold.manage("DELETE", f"/tenants/{tenant_id}", params=confirmed)


async def deleted(freehold: Freehold, tenant: Tenant) -> Document:
    """Have a tenant deleted, and give the operation as it ended."""
    answer = await delete(freehold, tenant.tenant_id)
    assert answer.status_code == 202, answer.text
    asked = answer.json()
    assert (asked["kind"], asked["tenant_id"]) == ("delete", tenant.tenant_id)

    async def ended() -> Document | None:
        shown = found(await freehold.manage("GET", f"/operations/{asked['operation_id']}"))
        return shown if shown["finished_at"] else None

    return await eventually(ended, "the deletion ends", within_s=120)


async def test_a_tenant_leaves_and_takes_the_whole_ledger_along(
    freehold: Freehold, tenant: Tenant, other_tenant: Tenant
) -> None:
    await tenant.append_batch([event_body(account_id=f"cus_{n}") for n in range(EVENTS)])
    await other_tenant.append()
    # Services and the customer are connected, and some of it is not projected yet.
    await tenant.all_balances()
    path = f"/tenants/{tenant.tenant_id}"

    operation = await deleted(freehold, tenant)
    assert (operation["status"], operation["progress"]) == ("succeeded", 1), operation
    assert operation["result"]["backup_id"]

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
    assert export.text.startswith("--\n-- PostgreSQL database dump")
    assert export.text.rstrip().splitlines()[-1].startswith(("-- PostgreSQL", "\\unrestrict"))
    assert f"cus_{EVENTS - 1}\t" in export.text
    answer = await freehold.manage("GET", f"{path}/export", params={"format": "custom"})
    assert pointers(answer) == ["/format"]

    # Nobody gets the id again, and nobody else has noticed anything.
    wanted = {"tenant_id": tenant.tenant_id, "name": "A tenant of the tests"}
    problem(await freehold.manage("POST", "/tenants", wanted), "tenant-exists")
    await other_tenant.append()
    assert (await other_tenant.caught_up())["head_seq"] == 2


@pytest.mark.local
async def test_whoever_is_connected_does_not_hold_a_deletion_up(
    freehold: Freehold, tenant: Tenant
) -> None:
    path = f"/tenants/{tenant.tenant_id}/credentials"
    credentials = found(await freehold.manage("GET", path))
    customer = await asyncpg.connect(credentials["dsn"], timeout=10)
    await customer.execute("BEGIN; SELECT count(*) FROM ledger.ledger_events")
    assert (await deleted(freehold, tenant))["status"] == "succeeded"
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
        await customer.execute("SELECT 1")
    # The database is gone, and so is the role.
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(credentials["dsn"], timeout=10)


async def test_a_suspended_tenant_can_be_deleted(freehold: Freehold, tenant: Tenant) -> None:
    await freehold.manage("POST", f"/tenants/{tenant.tenant_id}/suspend")
    assert (await deleted(freehold, tenant))["status"] == "succeeded"


async def test_nothing_more_is_done_for_a_deleted_tenant(
    freehold: Freehold, tenant: Tenant
) -> None:
    key_id = tenant.api_key.split("_")[1]
    assert (await deleted(freehold, tenant))["status"] == "succeeded"
    own = f"/tenants/{tenant.tenant_id}"
    for method, path, body in (
        ("POST", "/suspend", None),
        ("POST", "/resume", None),
        ("POST", "/api-keys", {"scopes": ["read"]}),
        ("POST", f"/api-keys/{key_id}/rotate", None),
        ("GET", "/credentials", None),
        ("POST", "/credentials/rotate", None),
        ("POST", "/backups", None),
    ):
        problem(await freehold.manage(method, own + path, body), "tenant-deleted")
    problem(await delete(freehold, tenant.tenant_id), "tenant-deleted")
    (key,) = found(await freehold.manage("GET", f"{own}/api-keys"))["data"]
    assert key["revoked_at"]


@pytest.mark.parametrize("params", [{}, {"confirm": ""}, {"confirm": "somebody-else"}])
async def test_whoever_is_to_be_deleted_is_named_twice(
    freehold: Freehold, tenant: Tenant, params: Document
) -> None:
    answer = await delete(freehold, tenant.tenant_id, params)
    assert pointers(answer) == ["/confirm"]
    assert found(await freehold.manage("GET", f"/tenants/{tenant.tenant_id}"))["status"] == "active"
    await tenant.append()


async def test_nobody_cannot_be_deleted(freehold: Freehold) -> None:
    problem(await delete(freehold, "nobody-here"), "not-found")
