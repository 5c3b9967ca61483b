"""Holds: one by its id, and what it does to the balance of its account."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx

from freehold.contracts.holds import Hold, HoldPage
from freehold.ledger import client as ledger
from freehold.ledger.append import Capture, Release
from freehold_query.contracts import AccountBalance, AccountBalances
from integration.query.tenants import Tenant, read_token
from support.answers import problem
from support.builders import new_event, new_hold
from support.waiting import PATIENCE_S

BALANCE = "/v1/accounts/cus_1/balances/USD"


async def test_a_hold_is_pending_until_the_ledger_says_that_it_expired(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=1)
    (placed,) = await tenant.append(new_hold(expires_at=expires_at))
    await asyncio.sleep(1.05)
    late = await read_hold(query, placed["event_id"])
    assert (late.status, late.settled_at) == ("pending", None)
    await ledger.expire_holds(tenant.connection)
    hold = await read_hold(query, placed["event_id"])
    assert hold.status == "expired"
    assert hold.settled_at is not None
    assert hold.expires_at is not None
    assert timedelta(0) <= hold.settled_at - hold.expires_at < timedelta(seconds=PATIENCE_S)


async def test_what_is_no_hold_of_this_tenant_is_not_found(
    query: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant
) -> None:
    (theirs,) = await other_tenant.append(new_hold())
    (event,) = await tenant.append(new_event())
    (own,) = await tenant.append(new_hold())
    *_, settling = await tenant.append(Release(own["event_id"]))
    spelt = f"{{{own['event_id']}}}"
    unknown = (theirs["event_id"], event["event_id"], settling["event_id"], uuid4(), spelt, "%00")
    for hold_id in unknown:
        answer = await query.get(f"/v1/holds/{hold_id}")
        problem(answer, "not-found")
        assert answer.json()["detail"] == "there is no such hold"


async def test_a_hold_lowers_what_is_available_and_not_the_balance(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    await tenant.append(new_event("cus_1", 1000))
    await tenant.project()
    (hold,) = await tenant.append(new_hold("cus_1", 300))
    assert await amounts(query, "eventual") == (1000, 0, 1000)
    assert await amounts(query, "strong") == (1000, 300, 700)
    await tenant.project()
    assert await amounts(query, "eventual") == (1000, 300, 700)
    await tenant.append(Capture(hold["event_id"], 200))
    assert await amounts(query, "eventual") == (1000, 300, 700)
    assert await amounts(query, "strong") == (800, 0, 800)
    await tenant.project()
    assert await amounts(query, "eventual") == (800, 0, 800)


async def test_every_balance_shows_what_is_held(query: httpx.AsyncClient, tenant: Tenant) -> None:
    await tenant.append(new_event("cus_1", 100), new_hold("cus_1", 300))
    await tenant.append(new_event("cus_1", 5, currency="EUR"), new_hold("empty", 7))
    await tenant.project()
    answer = await query.get("/v1/accounts/cus_1/balances")
    held = {
        each.currency: (each.held_minor, each.available_minor, each.event_count)
        for each in AccountBalances.model_validate_json(answer.content, strict=True).balances
    }
    assert held == {"EUR": (0, 5, 1), "USD": (300, -200, 2)}
    listed = (await query.get("/v1/balances")).json()["data"]
    assert {
        (each["account_id"], each["currency"]): (each["held_minor"], each["available_minor"])
        for each in listed
    } == {("cus_1", "EUR"): (0, 5), ("cus_1", "USD"): (300, -200), ("empty", "USD"): (7, -7)}


async def test_what_is_held_may_need_more_than_64_bits(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    largest = 2**63 - 1
    await tenant.append(*[new_hold("cus_1", largest)] * 3, new_event("cus_1", largest))
    await tenant.project()
    for query_string in ("", "?consistency=strong"):
        text = (await query.get(f"{BALANCE}{query_string}")).text
        assert f'"held_minor":{3 * largest},"available_minor":{-2 * largest},' in text


async def test_placing_and_settling_a_hold_give_the_balance_another_tag(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    await tenant.append(new_event("cus_1", 1000))
    await tenant.project()
    tags = {(await query.get(BALANCE)).headers["etag"]}
    (hold,) = await tenant.append(new_hold())
    await tenant.project()
    tags.add((await query.get(BALANCE)).headers["etag"])
    await tenant.append(Release(hold["event_id"]))
    await tenant.project()
    answer = await query.get(BALANCE, headers={"If-None-Match": ", ".join(tags)})
    assert answer.status_code == 200
    assert len({*tags, answer.headers["etag"]}) == 3


async def test_holds_are_listed_by_account_and_status_the_newest_first(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    first, other, second = await tenant.append(
        new_hold("cus_1", 300), new_hold("cus_2", 7), new_hold("cus_1", 40)
    )
    await tenant.append(new_event("cus_1", 5))
    await tenant.append(Capture(first["event_id"], 200))
    ids = [str(hold["hold_id"]) for hold in (second, other, first)]
    assert [hold.hold_id for hold in await list_holds(query)] == [UUID(each) for each in ids]
    assert await found_holds(query, account_id="cus_1") == [ids[0], ids[2]]
    assert await found_holds(query, status="pending") == ids[:2]
    assert await found_holds(query, status="pending", account_id="cus_1") == ids[:1]
    assert await found_holds(query, account_id="unknown") == []
    (settled,) = await list_holds(query, status="settled")
    assert settled == await read_hold(query, first["hold_id"])
    assert (settled.status, settled.captured_minor) == ("captured", 200)


async def test_pages_of_holds_follow_each_other(query: httpx.AsyncClient, tenant: Tenant) -> None:
    placed = await tenant.append(*[new_hold("cus_1", amount) for amount in range(1, 6)])
    found, cursor = [], None
    while True:
        params = {"limit": 2} if cursor is None else {"limit": 2, "cursor": cursor}
        page = (await query.get("/v1/holds", params=params)).json()
        found += [hold["amount_minor"] for hold in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        # What is settled, or placed, meanwhile moves no page.
        await tenant.append(Release(placed[len(found)]["hold_id"]), new_hold())
    assert found == [5, 4, 3, 2, 1]


async def test_a_read_token_lists_the_holds_of_its_accounts(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    (own, _) = await tenant.append(new_hold("cus_1"), new_hold("other"))
    token = await read_token(query, account_prefix="cus_")
    page = (await query.get("/v1/holds", headers=token)).json()
    assert [hold["hold_id"] for hold in page["data"]] == [str(own["hold_id"])]


async def list_holds(query: httpx.AsyncClient, **params: str) -> list[Hold]:
    answer = await query.get("/v1/holds", params=params)
    assert answer.status_code == 200, answer.text
    return HoldPage.model_validate_json(answer.content, strict=True).data


async def found_holds(query: httpx.AsyncClient, **params: str) -> list[str]:
    return [str(hold.hold_id) for hold in await list_holds(query, **params)]


async def read_hold(query: httpx.AsyncClient, hold_id: UUID) -> Hold:
    answer = await query.get(f"/v1/holds/{hold_id}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "private, no-cache"
    return Hold.model_validate_json(answer.content, strict=True)


async def amounts(query: httpx.AsyncClient, consistency: str) -> tuple[int | None, ...]:
    answer = await query.get(BALANCE, params={"consistency": consistency})
    balance = AccountBalance.model_validate_json(answer.content, strict=True)
    return balance.current_balance_minor, balance.held_minor, balance.available_minor
