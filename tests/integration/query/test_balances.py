"""Balances of an account and in one currency: what is answered, and how fresh it is."""

import asyncio
from urllib.parse import quote

import httpx
import pytest

from freehold_query.contracts import AccountBalance, AccountBalances, Lag
from integration.query.tenants import Tenant
from support.answers import problem
from support.builders import new_event

LARGEST = 2**63 - 1


async def test_an_account_has_a_balance_in_each_currency(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    events = await tenant.append(
        new_event("cus_42", 2000), new_event("cus_42", -500), new_event("cus_42", 7, currency="JPY")
    )
    await tenant.project()
    answer = await query.get("/v1/accounts/cus_42/balances")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    found = AccountBalances.model_validate_json(answer.content, strict=True)
    assert found.account_id == "cus_42"
    assert [
        (b.currency, b.current_balance_minor, b.event_count, b.last_seq) for b in found.balances
    ] == [("JPY", 7, 1, 3), ("USD", 1500, 2, 2)]
    assert found.balances[1].last_ledger_event_id == events[1]["event_id"]
    assert answer.json()["balances"][0]["last_updated_time"].endswith("Z")


async def test_one_currency_of_an_account(query: httpx.AsyncClient, tenant: Tenant) -> None:
    await tenant.append(new_event("cus_42", 2000), new_event("cus_42", 7, currency="JPY"))
    await tenant.project()
    answer = await query.get("/v1/accounts/cus_42/balances/JPY")
    found = AccountBalance.model_validate_json(answer.content, strict=True)
    assert (found.account_id, found.currency, found.current_balance_minor) == ("cus_42", "JPY", 7)
    both = (await query.get("/v1/accounts/cus_42/balances")).json()["balances"]
    assert answer.json() == {"account_id": "cus_42", **both[0]}


NOWHERE = [
    "unknown/balances",
    "unknown/balances/USD",
    "cus_42/balances/EUR",
    "cus_42/balances/usd",
    "cus_42/balances/USDX",
    "cus_42/balances/%00",
    "%00/balances",
    "%20/balances",
    "CUS_42/balances",
    "cus_42%0A/balances",
    "cus_42%00/balances",
    "-starts-with-a-hyphen/balances",
    "%E2%82%AC/balances",
    "%FF/balances",
    "a%2Fb/balances",
    f"{'a' * 256}/balances",
    f"{'a' * 5000}/balances",
]


@pytest.mark.parametrize("query_string", ["", "?consistency=strong"])
async def test_what_was_never_seen_and_what_cannot_exist_are_answered_alike(
    still_query: httpx.AsyncClient, still_tenant: Tenant, query_string: str
) -> None:
    await still_tenant.append(new_event("cus_42", 2000))
    await still_tenant.project()
    for path in NOWHERE:
        answer = await still_query.get(f"/v1/accounts/{path}{query_string}")
        problem(answer, "not-found")


async def test_account_ids_may_be_percent_encoded(
    still_query: httpx.AsyncClient, still_tenant: Tenant
) -> None:
    for account_id in ("a:b@c.d-e_f", "9", "Z" * 255):
        await still_tenant.append(new_event(account_id, 5))
        await still_tenant.project()
        encoded = "".join(f"%{ord(character):02X}" for character in account_id)
        for spelling in (account_id, quote(account_id, safe=""), encoded):
            answer = await still_query.get(f"/v1/accounts/{spelling}/balances")
            assert answer.json()["account_id"] == account_id


@pytest.mark.parametrize(
    ("account_id", "amounts"),
    [("whale", [LARGEST] * 20), ("debtor", [-LARGEST] * 20), ("even", [5, -5])],
)
async def test_a_balance_is_a_plain_integer_of_any_size(
    still_query: httpx.AsyncClient, still_tenant: Tenant, account_id: str, amounts: list[int]
) -> None:
    await still_tenant.append(*(new_event(account_id, amount) for amount in amounts))
    await still_tenant.project()
    for path in ("balances", "balances/USD"):
        for query_string in ("", "?consistency=strong"):
            answer = await still_query.get(f"/v1/accounts/{account_id}/{path}{query_string}")
            assert f'"current_balance_minor":{sum(amounts)},' in answer.text


async def test_strong_includes_what_is_not_projected_yet(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    await tenant.append(new_event("cus_42", 100))
    await tenant.project()
    *_, last = await tenant.append(
        new_event("cus_42", 20), new_event("cus_42", 3, currency="EUR"), new_event("fresh", 1)
    )

    async def amounts(account_id: str, consistency: str) -> dict[str, int]:
        answer = await query.get(
            f"/v1/accounts/{account_id}/balances", params={"consistency": consistency}
        )
        balances = answer.json().get("balances", [])
        return {b["currency"]: b["current_balance_minor"] for b in balances}

    assert await amounts("cus_42", "eventual") == {"USD": 100}
    assert await amounts("cus_42", "strong") == {"USD": 120, "EUR": 3}
    assert await amounts("fresh", "eventual") == {}
    assert await amounts("fresh", "strong") == {"USD": 1}
    answer = await query.get("/v1/accounts/fresh/balances/USD?consistency=strong")
    assert answer.json()["last_ledger_event_id"] == str(last["event_id"])
    assert answer.json()["last_seq"] == 4
    await tenant.project()
    assert await amounts("cus_42", "eventual") == {"USD": 120, "EUR": 3}


async def test_strong_reads_see_every_event_committed_before_them(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    """However many reads are under way and share calls with later ones."""
    committed = 0
    reading = True

    async def read() -> None:
        while reading:
            before = committed
            answer = await query.get("/v1/accounts/cus_42/balances/USD?consistency=strong")
            seen = answer.json().get("current_balance_minor", 0)
            assert seen >= before

    readers = [asyncio.create_task(read()) for _ in range(20)]
    for _ in range(100):
        await tenant.append(new_event("cus_42", 1))
        committed += 1
        if committed % 7 == 0:
            await tenant.project()
    reading = False
    await asyncio.gather(*readers)


async def test_concurrent_requests_each_get_their_own_account(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    await tenant.append(*(new_event(f"cus_{n}", n) for n in range(1, 101)))
    await tenant.project()
    accounts = [*range(1, 101)] * 3 + [0] * 5
    answers = await asyncio.gather(
        *(
            query.get(f"/v1/accounts/cus_{n}/balances{'?consistency=strong' * (place % 2)}")
            for place, n in enumerate(accounts)
        )
    )
    for n, answer in zip(accounts, answers, strict=True):
        if n == 0:
            assert answer.status_code == 404
        else:
            assert answer.json()["account_id"] == f"cus_{n}"
            assert answer.json()["balances"][0]["current_balance_minor"] == n
    metrics = (await query.get("/metrics")).text
    assert 'freehold_query_accounts_per_call_bucket{call="balances",le="1.0"}' in metrics
    assert 'freehold_ledger_call_seconds_count{call="strong_balances"}' in metrics


async def test_lag(query: httpx.AsyncClient, tenant: Tenant) -> None:
    async def lag() -> Lag:
        return Lag.model_validate_json((await query.get("/v1/lag")).content)

    assert await lag() == Lag(head_seq=0, projected_seq=0, events_behind=0, seconds_behind=0)
    await tenant.append(new_event())
    await tenant.project()
    await tenant.append(new_event(), new_event())
    await asyncio.sleep(0.05)
    behind = await lag()
    assert (behind.head_seq, behind.projected_seq, behind.events_behind) == (3, 1, 2)
    assert 0.05 <= behind.seconds_behind < 5
    await tenant.project()
    assert await lag() == Lag(head_seq=3, projected_seq=3, events_behind=0, seconds_behind=0)
