"""A balanced transaction by its id."""

from uuid import uuid4

import httpx

from freehold.contracts.transactions import AppendedTransaction
from integration.query.tenants import Tenant
from support.answers import NOT_UNDONE, problem
from support.builders import new_event


async def transfer(tenant: Tenant, legs: int = 2) -> list[str]:
    """Append a transaction, and give the ids of its legs."""
    half = legs // 2
    events = [new_event("cus_1", -100)] * half + [new_event("cus_2", 100)] * half
    return [str(row["event_id"]) for row in await tenant.append(*events, transaction=True)]


async def test_a_transaction_is_found_with_its_legs_and_no_other_events(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    await tenant.append(new_event())
    wanted = await transfer(tenant, 100)
    await transfer(tenant)
    await tenant.append(new_event())
    answer = await query.get(f"/v1/transactions/{wanted[0]}")
    assert answer.status_code == 200
    found = AppendedTransaction.model_validate_json(answer.content, strict=True)
    assert set(answer.json()) == {"transaction_id", "events"}
    assert str(found.transaction_id) == wanted[0]
    assert [str(event.event_id) for event in found.events] == wanted
    assert {event.transaction_id for event in found.events} == {found.transaction_id}
    assert sum(event.amount_minor for event in found.events) == 0
    event = (await query.get(f"/v1/events/{wanted[1]}")).json()
    assert {**answer.json()["events"][1], **NOT_UNDONE} == event


async def test_what_is_no_transaction_of_this_tenant_is_not_found(
    query: httpx.AsyncClient, tenant: Tenant, other_tenant: Tenant
) -> None:
    (single,) = await tenant.append(new_event())
    _, second_leg = await transfer(tenant)
    theirs, _ = await transfer(other_tenant)
    unknown = (single["event_id"], second_leg, theirs, uuid4(), "1", f"{{{second_leg}}}", "%00")
    for transaction_id in unknown:
        answer = await query.get(f"/v1/transactions/{transaction_id}")
        problem(answer, "not-found")
        assert answer.json()["detail"] == "there is no such transaction"
