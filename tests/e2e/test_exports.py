"""Leaving: a tenant takes their ledger along, and the operator has a copy that is proven."""

import pytest

from support.answers import problem
from support.clients import Freehold, Tenant, event_body


@pytest.mark.parametrize("form", ["sql", "custom"])
async def test_a_tenant_downloads_their_own_ledger(
    freehold: Freehold, tenant: Tenant, other_tenant: Tenant, form: str
) -> None:
    await tenant.append(external_id="mine-1")
    await other_tenant.append(external_id="theirs-1")
    url = f"{freehold.addresses.tenant_manager}/v1/export"
    exporting = await tenant.limited_to("export")
    answer = await freehold.ask("GET", url, bearer=exporting.api_key, params={"format": form})
    assert answer.status_code == 200
    assert "attachment" in answer.headers["content-disposition"]
    # For its head alone nothing is dumped.
    bearing = {"Authorization": f"Bearer {exporting.api_key}"}
    head = await freehold.send("HEAD", url, headers=bearing, params={"format": form})
    changing = {"date", "x-request-id", "content-disposition"}
    assert (head.status_code, head.content) == (200, b"")
    assert {n: v for n, v in head.headers.items() if n not in changing} == {
        n: v for n, v in answer.headers.items() if n not in changing
    }
    if form == "sql":
        assert b"CREATE FUNCTION ledger.verify(" in answer.content
        assert b"mine-1" in answer.content
    else:
        assert answer.content.startswith(b"PGDMP")
    assert b"theirs-1" not in answer.content


async def test_a_key_without_the_scope_downloads_nothing(
    freehold: Freehold, tenant: Tenant
) -> None:
    url = f"{freehold.addresses.tenant_manager}/v1/export"
    reading = await tenant.limited_to("read", "audit", "ingest")
    problem(await freehold.ask("GET", url, bearer=reading.api_key), "missing-scope")
    problem(await freehold.ask("GET", url), "unauthorized")
    problem(
        await freehold.manage("GET", f"/tenants/{tenant.tenant_id}/export", params={"format": "x"}),
        "validation-failed",
    )
    unknown = f"{freehold.addresses.tenant_manager}/v1/tenants/unknown/export"
    operator = {"Authorization": f"Bearer {freehold.addresses.operator_token}"}
    assert (await freehold.send("HEAD", unknown, headers=operator)).status_code == 404


async def test_the_operator_backs_a_tenant_up_and_has_it_proven(
    freehold: Freehold, tenant: Tenant
) -> None:
    await tenant.append_batch([event_body(account_id=f"cus_{n}") for n in range(50)])
    path = f"/tenants/{tenant.tenant_id}/backups"
    made = await freehold.result_of(await freehold.operator.create_backup(tenant.tenant_id))
    assert (made["head_seq"], made["events"]) == (50, 50)
    listed = (await freehold.manage("GET", path)).json()["data"]
    assert listed == [made]
    verification = await freehold.operator.verify_backup(tenant.tenant_id, made["backup_id"])
    checked = await freehold.result_of(verification)
    assert (checked["ok"], checked["head_hash"]) == (True, made["head_hash"])
    details = (await freehold.manage("GET", f"/tenants/{tenant.tenant_id}")).json()
    assert details["last_backup"]["backup_id"] == made["backup_id"]
    assert details["last_backup"]["verified_at"] is not None
