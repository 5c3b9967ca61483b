"""Lists: filters, order, and pages that neither skip nor repeat."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from freehold.contracts.events import EventPage
from freehold_query.contracts import BalancePage
from integration.query.tenants import Tenant
from support.builders import new_event

LARGEST = 2**63 - 1
ALL = ["cus:2 USD", "cus_1 EUR", "cus_1 USD", "cus_10 USD", "cus_2 JPY", "vip@2 USD", "whale USD"]


async def pages(
    query: httpx.AsyncClient, path: str, **params: Any
) -> AsyncIterator[list[dict[str, Any]]]:
    while True:
        answer = await query.get(path, params=params)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        yield body["data"]
        if body["next_cursor"] is None:
            return
        params["cursor"] = body["next_cursor"]


async def everything(query: httpx.AsyncClient, path: str, **params: Any) -> list[dict[str, Any]]:
    return [entry async for page in pages(query, path, **params) for entry in page]


async def fill(tenant: Tenant) -> None:
    await tenant.append(
        new_event("cus_1", 100),
        new_event("cus_1", 5, currency="EUR"),
        new_event("cus_10", -50),
        new_event("cus_2", 7, currency="JPY"),
        new_event("cus:2", 8),
        new_event("vip@2", 900),
        *[new_event("whale", LARGEST)] * 3,
    )
    await tenant.project()


@pytest.fixture(scope="module")
async def filled(still_query: httpx.AsyncClient, still_tenant: Tenant) -> httpx.AsyncClient:
    await fill(still_tenant)
    return still_query


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ALL),
        ({"account_prefix": ""}, ALL),
        ({"account_prefix": "cus_1"}, ["cus_1 EUR", "cus_1 USD", "cus_10 USD"]),
        ({"account_prefix": "cus:"}, ["cus:2 USD"]),
        ({"account_prefix": "CUS"}, []),
        ({"account_prefix": "%"}, []),
        ({"account_prefix": "_"}, []),
        ({"account_prefix": "\u20ac"}, []),
        ({"currency": "JPY"}, ["cus_2 JPY"]),
        ({"currency": "CHF"}, []),
        ({"min": "8", "max": "100"}, ["cus:2 USD", "cus_1 USD"]),
        ({"max": "-50"}, ["cus_10 USD"]),
        ({"max": "-51"}, []),
        ({"min": "900", "max": "900"}, ["vip@2 USD"]),
        ({"min": str(3 * LARGEST)}, ["whale USD"]),
        ({"min": str(3 * LARGEST + 1)}, []),
        ({"min": "-" + "9" * 38, "max": "9" * 38}, ALL),
        ({"account_prefix": "cus", "currency": "USD", "min": "0"}, ["cus:2 USD", "cus_1 USD"]),
    ],
)
async def test_balances_are_filtered(
    filled: httpx.AsyncClient, params: dict[str, str], expected: list[str]
) -> None:
    answer = await filled.get("/v1/balances", params=params)
    page = BalancePage.model_validate_json(answer.content, strict=True)
    assert page.next_cursor is None
    assert [f"{entry.account_id} {entry.currency}" for entry in page.data] == expected
    listed = answer.json()["data"]
    for limit in (1, 2):
        assert await everything(filled, "/v1/balances", limit=limit, **params) == listed
    for entry in listed:
        path = f"/v1/accounts/{entry['account_id']}/balances/{entry['currency']}"
        assert (await filled.get(path)).json() == entry


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8, 1000])
async def test_pages_of_balances_make_the_whole(filled: httpx.AsyncClient, limit: int) -> None:
    whole = await everything(filled, "/v1/balances")
    paged = [page async for page in pages(filled, "/v1/balances", limit=limit)]
    assert [entry for page in paged for entry in page] == whole
    assert all(len(page) == limit for page in paged[:-1])
    assert [(e["account_id"], e["currency"]) for e in whole] == sorted(
        (e["account_id"], e["currency"]) for e in whole
    )


async def test_pages_stay_in_step_while_accounts_are_added(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    await fill(tenant)
    seen: list[dict[str, Any]] = []
    async for page in pages(query, "/v1/balances", limit=2, currency="USD"):
        seen += page
        await tenant.append(new_event(f"cus:0{len(seen)}", 1), new_event(f"z{len(seen)}", 1))
        await tenant.project()
        if len(seen) > 8:
            break
    names = [entry["account_id"] for entry in seen]
    assert names == sorted(set(names))
    assert set(names) >= {"cus:2", "cus_1", "cus_10", "vip@2", "whale"}


@pytest.mark.parametrize("limit", [1, 3, 10, 11, 100])
async def test_pages_of_events_make_the_ledger(
    query: httpx.AsyncClient, tenant: Tenant, limit: int
) -> None:
    written = await tenant.append(
        *(new_event(f"cus_{n % 3}", n, metadata={"n": str(n)}) for n in range(1, 11))
    )
    paged = [page async for page in pages(query, "/v1/events", limit=limit)]
    ledger = [event for page in paged for event in page]
    assert [event["event_id"] for event in ledger] == [str(row["event_id"]) for row in written]
    assert [event["seq"] for event in ledger] == list(range(1, 11))
    assert [len(page) for page in paged] == [limit] * (10 // limit) + [10 % limit] * bool(
        10 % limit
    )
    own = await everything(query, "/v1/events", limit=limit, account_id="cus_1")
    assert [event["amount_minor"] for event in own] == [1, 4, 7, 10]


async def test_a_page_of_events_is_as_documented(query: httpx.AsyncClient, tenant: Tenant) -> None:
    await tenant.append(
        new_event("cus_1", LARGEST, external_id="ch_1", metadata={"plan": "pro \u20ac"}),
        new_event("cus_1", -LARGEST - 1),
    )
    answer = await query.get("/v1/events")
    page = EventPage.model_validate_json(answer.content, strict=True)
    assert page.data[0].metadata == {"plan": "pro \u20ac"}
    assert [event.amount_minor for event in page.data] == [LARGEST, -LARGEST - 1]
    assert answer.json()["data"][0]["recorded_at"].endswith("Z")


@pytest.mark.parametrize("path", ["/v1/events", "/v1/events?account_id=unknown", "/v1/balances"])
async def test_an_empty_list_is_a_list(query: httpx.AsyncClient, path: str) -> None:
    answer = await query.get(path)
    assert answer.status_code == 200
    assert answer.json() == {"data": [], "next_cursor": None}


async def test_lists_answer_a_hundred_unless_asked_otherwise(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    await tenant.append(*(new_event(f"cus_{n}") for n in range(1001)))
    await tenant.project()
    for path in ("/v1/events", "/v1/balances"):
        answer = (await query.get(path)).json()
        assert len(answer["data"]) == 100
        assert answer["next_cursor"]
        assert len((await query.get(path, params={"limit": 1000})).json()["data"]) == 1000
