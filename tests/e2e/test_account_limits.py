"""Limits on accounts: decided in the append itself, against the exact balance."""

import asyncio
from typing import Any

import pytest

from support.answers import created, found, pointers, problem
from support.clients import Tenant, event_body
from support.documents import Document
from support.funds import endow, funds, limit

LIMITS = "/accounts/cus_42/limits"


def refused(answer: Any) -> Document:
    return problem(answer, "insufficient-funds")


async def test_limits_are_set_changed_and_lifted_by_currency(tenant: Tenant) -> None:
    assert found(await tenant.ask_ingest("GET", LIMITS)) == {"account_id": "cus_42", "limits": []}
    dollars = {"currency": "USD", "min_balance_minor": 0}
    yen = {"currency": "JPY", "min_balance_minor": -(2**63)}
    assert await limit(tenant, 0) == {"account_id": "cus_42", "limits": [dollars]}
    both = await limit(tenant, -(2**63), currency="JPY")
    assert both == {"account_id": "cus_42", "limits": [yen, dollars]}
    assert found(await tenant.ask_ingest("GET", LIMITS)) == both
    assert (await limit(tenant, 2**63 - 1))["limits"][1]["min_balance_minor"] == 2**63 - 1
    assert await limit(tenant, None) == {"account_id": "cus_42", "limits": [yen]}
    # To lift what is not there is no fault.
    assert await limit(tenant, None) == {"account_id": "cus_42", "limits": [yen]}


async def test_an_account_is_not_taken_below_its_limit(tenant: Tenant) -> None:
    await endow(tenant, 50, least=-10)
    await tenant.append(amount_minor=-50)
    # Each of these follows at once: the projector need not have seen the one before.
    for _ in range(3):
        refusal = refused(await tenant.post("/events", event_body(amount_minor=-11), key="k"))
        assert [fault["pointer"] for fault in refusal["errors"]] == ["/amount_minor"]
        assert "cus_42 in USD" in refusal["detail"]
    await tenant.append(amount_minor=-10)
    refused(await tenant.post("/events", event_body(amount_minor=-1)))
    # A refused request is not remembered.
    await tenant.append(amount_minor=11)
    created(await tenant.post("/events", event_body(amount_minor=-11), key="k"))
    assert await funds(tenant) == (-10, 0, -10)
    # Once projected it is the same.
    await tenant.caught_up()
    refused(await tenant.post("/events", event_body(amount_minor=-1)))
    await limit(tenant, None)
    await tenant.append(amount_minor=-1)


async def test_withdrawals_and_deposits_at_once_never_take_an_account_below(tenant: Tenant) -> None:
    await endow(tenant, 5)

    async def move(n: int) -> None:
        amount = (-7, 3, -2)[n % 3]
        if n % 2:
            body = {"events": [event_body(amount_minor=amount), event_body(account_id="b")]}
            answer = await tenant.post("/events/batch", body)
        else:
            answer = await tenant.post("/events", event_body(amount_minor=amount))
        assert answer.status_code == 201 or refused(answer)
        assert amount < 0 or answer.status_code == 201

    async with asyncio.TaskGroup() as group:
        for n in range(150):
            group.create_task(move(n))
    running = 0
    for event in await tenant.all_events():
        if event.account_id == "cus_42":
            running += event.amount_minor
            assert running >= 0
    assert (await funds(tenant)).posted == running


async def test_a_batch_is_netted_and_refused_as_a_whole(tenant: Tenant) -> None:
    await endow(tenant, 10)
    batch = [event_body(amount_minor=amount) for amount in (-500, 495)]
    await tenant.append_batch(batch)
    batch = [
        event_body(account_id="b"),
        event_body(amount_minor=1),
        event_body(amount_minor=-4),
        event_body(amount_minor=-3),
    ]
    refusal = refused(await tenant.post("/events/batch", {"events": batch}))
    assert [fault["pointer"] for fault in refusal["errors"]] == ["/events/2/amount_minor"]
    assert (await tenant.lag()).head_seq == 3


async def test_a_reversal_is_held_to_the_limit_too(tenant: Tenant) -> None:
    await endow(tenant, 10)
    deposit = await tenant.append(amount_minor=5)
    await tenant.append(amount_minor=-12)
    refusal = refused(await tenant.post(f"/events/{deposit.event_id}/reversal"))
    assert refusal["detail"] == "cus_42 in USD would be taken below its limit"
    assert refusal["errors"] == [{"pointer": "", "detail": refusal["detail"]}]
    assert await funds(tenant) == (3, 0, 3)


REFUSED: dict[str, tuple[Any, list[str]]] = {
    "no currency": ({"min_balance_minor": 0}, ["/currency"]),
    "no least balance": ({"currency": "USD"}, ["/min_balance_minor"]),
    "an unknown currency": ({"currency": "usd", "min_balance_minor": 0}, ["/currency"]),
    "a float": ({"currency": "USD", "min_balance_minor": 0.0}, ["/min_balance_minor"]),
    "a string": ({"currency": "USD", "min_balance_minor": "0"}, ["/min_balance_minor"]),
    "a truth": ({"currency": "USD", "min_balance_minor": False}, ["/min_balance_minor"]),
    "too large": ({"currency": "USD", "min_balance_minor": 2**63}, ["/min_balance_minor"]),
    "too small": ({"currency": "USD", "min_balance_minor": -(2**63) - 1}, ["/min_balance_minor"]),
    "a field too many": ({"currency": "USD", "min_balance_minor": 0, "max": 1}, ["/max"]),
    "a list": ([], [""]),
}


@pytest.mark.parametrize(("body", "places"), REFUSED.values(), ids=REFUSED)
async def test_a_limit_that_breaks_a_rule_is_refused(
    refused_tenant: Tenant, body: Any, places: list[str]
) -> None:
    assert pointers(await refused_tenant.ask_ingest("PUT", LIMITS, body)) == places
    assert found(await refused_tenant.ask_ingest("GET", LIMITS))["limits"] == []


@pytest.mark.parametrize("account_id", ["%20", "a%0A", "-a", "a" * 256, "a%00b"])
async def test_an_account_that_cannot_be_is_refused(
    refused_tenant: Tenant, account_id: str
) -> None:
    body = {"currency": "USD", "min_balance_minor": 0}
    for method, sent in (("PUT", body), ("GET", None)):
        answer = await refused_tenant.ask_ingest(method, f"/accounts/{account_id}/limits", sent)
        assert pointers(answer) == ["/account_id"]


async def test_a_reader_sees_limits_and_only_a_writer_sets_them(tenant: Tenant) -> None:
    await limit(tenant, 5)
    reader = await tenant.limited_to("read")
    assert found(await reader.ask_ingest("GET", LIMITS))["limits"]
    body = {"currency": "USD", "min_balance_minor": None}
    problem(await reader.ask_ingest("PUT", LIMITS, body), "missing-scope")
    for scope in ("audit", "export"):
        other = await tenant.limited_to(scope)
        for method in ("GET", "PUT"):
            problem(await other.ask_ingest(method, LIMITS), "missing-scope")
    writer = await tenant.limited_to("ingest")
    assert found(await writer.ask_ingest("GET", LIMITS))["limits"]
    assert await limit(writer, None)
    for method in ("GET", "PUT"):
        assert pointers(await tenant.ask_ingest(method, f"{LIMITS}?x/~=1", body)) == ["/x~1~0"]
    problem(await tenant.ask_ingest("PUT", LIMITS, b"{"), "malformed-json")
