"""Amounts as strings, for clients whose JSON loses integers beyond 2^53."""

from typing import Any

import httpx

from support.answers import NOT_UNDONE
from support.clients import Tenant, event_body
from support.funds import hold_body, leg

STRINGS = {"Prefer": "amounts=string"}
LARGE = 2**53 + 1


async def test_every_answer_of_ingest_has_them_where_that_is_preferred(tenant: Tenant) -> None:
    legs = [leg("cus_1", LARGE), leg("cus_2", -LARGE)]
    events = [event_body(amount_minor=LARGE), event_body(amount_minor=-1)]
    event = await preferred(tenant, "/events", event_body(amount_minor=LARGE))
    assert amounts(event) == [str(LARGE)]
    transaction = await preferred(tenant, "/transactions", {"legs": legs})
    assert amounts(transaction) == [str(LARGE), str(-LARGE)]
    assert amounts(await preferred(tenant, "/events/batch", {"events": events})) == [
        str(LARGE),
        "-1",
    ]
    placed = await preferred(tenant, "/holds", hold_body(amount_minor=LARGE - 2))
    assert amounts(placed) == [str(LARGE - 2), "0"]
    captured = await preferred(tenant, f"/holds/{placed['hold_id']}/capture", {"amount_minor": 5})
    assert amounts(captured) == [str(LARGE - 2), "5"]
    reversal = await preferred(tenant, f"/events/{event['event_id']}/reversal", None)
    assert amounts(reversal) == [str(-LARGE)]


async def test_a_repeated_request_may_prefer_something_else(tenant: Tenant) -> None:
    body = event_body(amount_minor=LARGE)
    first = await tenant.post("/events", body, key="k")
    again = await tenant.post("/events", body, key="k", headers=STRINGS)
    assert again.headers["idempotency-replayed"] == "true"
    assert again.json() == {**first.json(), "amount_minor": str(LARGE)}
    once_more = await tenant.post("/events", body, key="k")
    assert once_more.content == first.content


async def test_both_preferences_of_a_batch_are_applied(tenant: Tenant) -> None:
    answer = await tenant.post(
        "/events/batch",
        {"events": [event_body()]},
        headers={"Prefer": "return=minimal, amounts=string"},
    )
    assert answer.json() == {"first_seq": 1, "last_seq": 1}
    assert answer.headers["preference-applied"] == "return=minimal, amounts=string"


async def test_limits_on_accounts_have_them_too(tenant: Tenant) -> None:
    url = f"{tenant.freehold.addresses.ingest}/v1/accounts/cus_42/limits"
    body = {"currency": "USD", "min_balance_minor": -LARGE}
    for method, sent in (("PUT", body), ("GET", None)):
        answer = await tenant.freehold.ask(
            method, url, bearer=tenant.api_key, headers=STRINGS, body=sent
        )
        assert amounts(checked(answer, 200)["limits"][0]) == [str(-LARGE)]


async def test_query_reads_what_ingest_took_in_the_same_form(tenant: Tenant) -> None:
    event = await preferred(tenant, "/events", event_body(amount_minor=LARGE))
    answer = await tenant.get(f"/events/{event['event_id']}", headers=STRINGS)
    assert checked(answer, 200) == {**event, **NOT_UNDONE, "refunded_minor": "0"}
    await tenant.caught_up()
    balance = checked(await tenant.get("/accounts/cus_42/balances/USD", headers=STRINGS), 200)
    assert balance["current_balance_minor"] == balance["available_minor"] == str(LARGE)
    assert balance["last_seq"] == 1


async def preferred(tenant: Tenant, path: str, body: Any) -> Any:
    return checked(await tenant.post(path, body, headers=STRINGS), 201)


def checked(answer: httpx.Response, status: int) -> Any:
    assert answer.status_code == status, answer.text
    assert answer.headers["preference-applied"] == "amounts=string"
    return answer.json()


def amounts(document: Any) -> list[Any]:
    """The amounts of a document and of the events in it."""
    own = [value for name, value in document.items() if name.endswith("_minor")]
    return own + [amount for event in document.get("events", []) for amount in amounts(event)]
