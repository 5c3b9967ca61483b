"""Tenants and each other: another tenant's ids answer exactly as unknown ids do."""

from uuid import uuid4

import pytest

from support.answers import created, found, pointers, problem
from support.clients import Freehold, Tenant, event_body
from support.documents import Document


async def test_another_tenants_event_reads_like_one_that_does_not_exist(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    theirs = await other_tenant.append()
    answer = await tenant.get(f"/events/{theirs.event_id}")
    unknown = await tenant.get(f"/events/{uuid4()}")
    problem(answer, "not-found")
    assert answer.content == unknown.content
    assert (await other_tenant.get(f"/events/{theirs.event_id}")).status_code == 200


async def test_another_tenants_event_cannot_be_reversed(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    theirs = await other_tenant.append()
    answer = await tenant.post(f"/events/{theirs.event_id}/reversal")
    unknown = await tenant.post(f"/events/{uuid4()}/reversal")
    problem(answer, "not-found")
    assert answer.content == unknown.content
    # Nor does it matter whether its owner has reversed it.
    await other_tenant.reverse(theirs.event_id)
    again = await tenant.post(f"/events/{theirs.event_id}/reversal")
    assert again.content == unknown.content


@pytest.mark.parametrize("consistency", ["eventual", "strong"])
async def test_another_tenants_account_reads_like_one_never_seen(
    tenant: Tenant, other_tenant: Tenant, consistency: str
) -> None:
    await other_tenant.append(account_id="theirs")
    await other_tenant.caught_up()
    for path in ("/accounts/{}/balances", "/accounts/{}/balances/USD"):
        answer = await tenant.get(path.format("theirs"), consistency=consistency)
        unknown = await tenant.get(path.format("unknown"), consistency=consistency)
        problem(answer, "not-found")
        assert answer.content == unknown.content


@pytest.mark.parametrize("form", ["application/json", "text/csv", "application/pdf"])
async def test_another_tenants_statement_reads_like_one_never_seen(
    tenant: Tenant, other_tenant: Tenant, form: str
) -> None:
    await other_tenant.append(account_id="theirs")
    accept = {"Accept": form}
    path = "/accounts/{}/statement"
    answer = await tenant.get(path.format("theirs"), currency="USD", headers=accept)
    unknown = await tenant.get(path.format("unknown"), currency="USD", headers=accept)
    problem(answer, "not-found")
    assert answer.content == unknown.content


async def test_accounts_of_the_same_name_are_independent(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    await tenant.append(amount_minor=1)
    await other_tenant.append(amount_minor=20)
    await tenant.caught_up()
    await other_tenant.caught_up()
    assert await tenant.all_balances() == {("cus_42", "USD"): 1}
    assert await other_tenant.all_balances() == {("cus_42", "USD"): 20}
    for each in (tenant, other_tenant):
        assert [event.seq for event in await each.all_events()] == [1]
        assert (await each.lag()).head_seq == 1


async def test_another_tenants_events_are_neither_found_nor_added_up(
    freehold: Freehold, tenant: Tenant, other_tenant: Tenant
) -> None:
    for each in (tenant, other_tenant):
        await each.client.set_searchable_metadata(keys=["order_id"])
    theirs = await other_tenant.append(external_id="x1", metadata={"order_id": "o1"})
    await other_tenant.caught_up()
    searches: list[Document] = [
        {"external_id": "x1"},
        {"metadata": {"order_id": "o1"}},
        {"event_type": "CHARGE", "order": "desc"},
    ]
    for params in searches:
        assert await tenant.all_events(**params) == []
        assert await other_tenant.all_events(**params) == [theirs]
    assert [each async for each in tenant.client.get_activity(bucket="day")] == []
    assert len([each async for each in other_tenant.client.get_activity(bucket="day")]) == 1


async def test_no_request_can_choose_its_tenant(tenant: Tenant, other_tenant: Tenant) -> None:
    for name in ("tenant_id", "tenant"):
        body = event_body(**{name: other_tenant.tenant_id})
        assert pointers(await tenant.post("/events", body)) == [f"/{name}"]
        answer = await tenant.get("/events", {name: other_tenant.tenant_id})
        assert pointers(answer) == [f"/{name}"]
    headers = {"X-Tenant-Id": other_tenant.tenant_id, "X-Forwarded-User": other_tenant.tenant_id}
    created(await tenant.post("/events", event_body(), headers=headers))
    assert (await other_tenant.lag()).head_seq == 0


async def test_another_tenants_cursor_is_refused(tenant: Tenant, other_tenant: Tenant) -> None:
    events = [event_body(account_id="a"), event_body(account_id="b", event_type="FEE")]
    await other_tenant.append_batch(events)
    await other_tenant.caught_up()
    for path, params in (("/events", {}), ("/balances", {}), ("/activity", {"bucket": "day"})):
        page = found(await other_tenant.get(path, {**params, "limit": 1}))
        answer = await tenant.get(path, {**params, "cursor": page["next_cursor"]})
        assert pointers(answer) == ["/cursor"]
    for each in (tenant, other_tenant):
        await each.append_batch([event_body()] * 2)
    path, usd = "/accounts/cus_42/statement", {"currency": "USD"}
    cursor = found(await other_tenant.get(path, usd, limit=1))["next_cursor"]
    assert pointers(await tenant.get(path, usd, cursor=cursor)) == ["/cursor"]


async def test_another_tenants_key_reads_like_one_that_does_not_exist(
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
