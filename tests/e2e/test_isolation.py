"""Tenants and each other: another tenant's ids answer exactly as ids that nobody has."""

from uuid import uuid4

import pytest

from support.clients import Freehold, Tenant, created, event_body, found, pointers, problem


async def test_another_tenants_event_reads_like_one_that_nobody_has(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    theirs = await other_tenant.append()
    answer = await tenant.get(f"/events/{theirs['event_id']}")
    unknown = await tenant.get(f"/events/{uuid4()}")
    problem(answer, "not-found")
    assert answer.content == unknown.content
    assert (await other_tenant.get(f"/events/{theirs['event_id']}")).status_code == 200


async def test_another_tenants_event_cannot_be_reversed(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    theirs = await other_tenant.append()
    answer = await tenant.post(f"/events/{theirs['event_id']}/reversal")
    unknown = await tenant.post(f"/events/{uuid4()}/reversal")
    problem(answer, "not-found")
    assert answer.content == unknown.content
    # Nor does it matter whether its owner has reversed it.
    await other_tenant.reverse(theirs["event_id"])
    again = await tenant.post(f"/events/{theirs['event_id']}/reversal")
    assert again.content == unknown.content


@pytest.mark.parametrize("consistency", ["eventual", "strong"])
async def test_another_tenants_account_reads_like_one_never_seen(
    tenant: Tenant, other_tenant: Tenant, consistency: str
) -> None:
    await other_tenant.append(account_id="theirs")
    await other_tenant.caught_up()
    for path in ("/accounts/{}/balances", "/accounts/{}/balances/USD"):
        answer = await tenant.get(path.format("theirs"), consistency=consistency)
        unknown = await tenant.get(path.format("nobody"), consistency=consistency)
        problem(answer, "not-found")
        assert answer.content == unknown.content


async def test_accounts_of_the_same_name_have_nothing_to_do_with_each_other(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    await tenant.append(amount_minor=1)
    await other_tenant.append(amount_minor=20)
    await tenant.caught_up()
    await other_tenant.caught_up()
    assert await tenant.all_balances() == {("cus_42", "USD"): 1}
    assert await other_tenant.all_balances() == {("cus_42", "USD"): 20}
    for each in (tenant, other_tenant):
        assert [event["seq"] for event in await each.all_of("/events")] == [1]
        assert (await each.lag())["head_seq"] == 1


async def test_no_request_can_choose_its_tenant(tenant: Tenant, other_tenant: Tenant) -> None:
    for name in ("tenant_id", "tenant"):
        body = event_body(**{name: other_tenant.tenant_id})
        assert pointers(await tenant.post("/events", body)) == [f"/{name}"]
        answer = await tenant.get("/events", {name: other_tenant.tenant_id})
        assert pointers(answer) == [f"/{name}"]
    headers = {"X-Tenant-Id": other_tenant.tenant_id, "X-Forwarded-User": other_tenant.tenant_id}
    created(await tenant.post("/events", event_body(), headers=headers))
    assert (await other_tenant.lag())["head_seq"] == 0


async def test_another_tenants_cursor_is_refused(tenant: Tenant, other_tenant: Tenant) -> None:
    await other_tenant.append_batch([event_body(account_id="a"), event_body(account_id="b")])
    await other_tenant.caught_up()
    for path in ("/events", "/balances"):
        cursor = found(await other_tenant.get(path, limit=1))["next_cursor"]
        assert pointers(await tenant.get(path, cursor=cursor)) == ["/cursor"]


async def test_another_tenants_key_reads_like_one_that_nobody_has(
    freehold: Freehold, tenant: Tenant, other_tenant: Tenant
) -> None:
    key_id = other_tenant.api_key.split("_")[1]
    keys = f"/tenants/{tenant.tenant_id}/api-keys"
    answer = await freehold.manage("DELETE", f"{keys}/{key_id}")
    unknown = await freehold.manage("DELETE", f"{keys}/0123456789abcdef")
    problem(answer, "not-found")
    assert answer.content == unknown.content
    assert (await other_tenant.get("/lag")).status_code == 200


async def test_a_key_id_with_another_tenants_secret_opens_nothing(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    _, key_id, _ = tenant.api_key.split("_")
    _, _, secret = other_tenant.api_key.split("_")
    mixed = tenant.bearing(f"fh_{key_id}_{secret}")
    problem(await mixed.get("/lag"), "unauthorized")
    problem(await mixed.post("/events", event_body()), "unauthorized")
