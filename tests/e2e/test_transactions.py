"""Balanced transactions: legs that come together, sum to zero, and are undone together."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from support.answers import NOT_UNDONE, created, found, pointers, problem
from support.clients import Tenant, event_body
from support.documents import Document
from support.funds import endow, funds, leg, transfer

REPLAYED = "idempotency-replayed"


def transaction(*legs: Document, **more: Any) -> Document:
    return {"legs": list(legs), **more}


async def test_a_transaction_is_answered_with_its_legs_in_order(tenant: Tenant) -> None:
    await tenant.append()
    document = await transfer(
        tenant,
        leg("cus_1", -2500, external_id="po_1", metadata={"b": "2", "a": "1"}),
        leg("bank", 2450, transaction_time="2026-02-01T00:00:00Z"),
        leg("fees", 50),
        transaction_time="2026-03-01T12:00:00+01:00",
    )
    assert list(document) == ["transaction_id", "events"]
    events = document["events"]
    assert document["transaction_id"] == events[0]["event_id"]
    assert [event["seq"] for event in events] == [2, 3, 4]
    assert [event["amount_minor"] for event in events] == [-2500, 2450, 50]
    assert [event["transaction_time"] for event in events] == [
        "2026-03-01T11:00:00.000000Z",
        "2026-02-01T00:00:00.000000Z",
        "2026-03-01T11:00:00.000000Z",
    ]
    for event in events:
        assert event["transaction_id"] == document["transaction_id"]
        read = found(await tenant.get(f"/events/{event['event_id']}"))
        assert read == {**event, **NOT_UNDONE}
    assert found(await tenant.get(f"/transactions/{document['transaction_id']}")) == document


async def test_legs_without_a_time_happened_when_they_were_recorded(tenant: Tenant) -> None:
    document = await transfer(tenant, leg("a", 1), leg("b", -1))
    for event in document["events"]:
        assert event["transaction_time"] == event["recorded_at"]


async def test_a_transaction_sums_to_zero_in_each_of_its_currencies(tenant: Tenant) -> None:
    await transfer(
        tenant,
        leg("a", -(2**63)),
        leg("b", 2**62),
        leg("b", 2**62),
        leg("a", 300, currency="EUR"),
        leg("b", -300, currency="EUR"),
    )
    assert await tenant.balances("a", consistency="strong") == {"EUR": 300, "USD": -(2**63)}
    answer = await tenant.post(
        "/transactions",
        transaction(leg("a", 5, currency="EUR"), leg("b", -5, currency="CHF"), leg("c", 1)),
    )
    assert pointers(answer) == ["/legs"]
    assert "in CHF sum to -5" in answer.json()["errors"][0]["detail"]


async def test_a_hundred_legs_go_together_and_one_more_does_not(tenant: Tenant) -> None:
    legs = [leg(f"a{n}", 1 if n % 2 else -1) for n in range(100)]
    assert len((await transfer(tenant, *legs))["events"]) == 100
    answer = await tenant.post("/transactions", transaction(*legs, leg("a", 1), leg("b", -1)))
    assert pointers(answer) == ["/legs"]
    assert (await tenant.lag()).head_seq == 100


PAIR = (leg("a", 1), leg("b", -1))
REFUSED: dict[str, tuple[Any, list[str]]] = {
    "no legs": ({}, ["/legs"]),
    "legs null": ({"legs": None}, ["/legs"]),
    "legs empty": (transaction(), ["/legs"]),
    "one leg": (transaction(leg("a", 1)), ["/legs"]),
    "a leg that is none": (transaction(*PAIR, 7), ["/legs/2"]),  # type: ignore[arg-type]
    "legs that do not balance": (transaction(leg("a", 1), leg("b", -2)), ["/legs"]),
    "amounts that balance and are no integers": (
        transaction(leg("a", 1.0), leg("b", -1.0)),  # type: ignore[arg-type]
        ["/legs/0/amount_minor", "/legs/1/amount_minor"],
    ),
    "amounts of nothing": (
        transaction(leg("a", 0), leg("b", 0)),
        ["/legs/0/amount_minor", "/legs/1/amount_minor"],
    ),
    "a field too many": (transaction(*PAIR, events=[]), ["/events"]),
    "a field too many in a leg": (transaction(*PAIR, leg("a", 1, tenant="x")), ["/legs/2/tenant"]),
    "a leg that chooses its transaction": (
        transaction(leg("a", 1, transaction_id=str(uuid4())), leg("b", -1)),
        ["/legs/0/transaction_id"],
    ),
    "a time without a zone": (
        transaction(*PAIR, transaction_time="2026-03-01T12:00:00"),
        ["/transaction_time"],
    ),
    "an external id twice": (
        transaction(leg("a", 1, external_id="x"), leg("b", -1, external_id="x")),
        ["/legs/0/external_id", "/legs/1/external_id"],
    ),
    "a list": (list(PAIR), [""]),
}


@pytest.mark.parametrize(("body", "places"), REFUSED.values(), ids=REFUSED)
async def test_one_fault_refuses_the_whole_transaction(
    refused_tenant: Tenant, body: Any, places: list[str]
) -> None:
    assert pointers(await refused_tenant.post("/transactions", body)) == places
    assert (await refused_tenant.lag()).head_seq == 0


async def test_a_body_that_is_not_json_and_a_missing_key_are_refused(
    refused_tenant: Tenant,
) -> None:
    problem(await refused_tenant.post("/transactions", b"{"), "malformed-json")
    body = transaction(*PAIR)
    missing = "idempotency-key-missing"
    problem(await refused_tenant.post("/transactions", body, key=None), missing)
    reversal = f"/transactions/{uuid4()}/reversal"
    problem(await refused_tenant.post(reversal, key=None), missing)
    problem(await refused_tenant.post(reversal, b"{"), "malformed-json")
    assert pointers(await refused_tenant.post(reversal, {"legs": []})) == ["/legs"]
    assert pointers(await refused_tenant.post("/transactions?x=1", body)) == ["/x"]
    assert pointers(await refused_tenant.post(f"{reversal}?x=1")) == ["/x"]
    assert (await refused_tenant.lag()).head_seq == 0


async def test_only_the_scope_ingest_may(tenant: Tenant) -> None:
    for scope in ("read", "audit", "export"):
        other = await tenant.limited_to(scope)
        for path in ("/transactions", f"/transactions/{uuid4()}/reversal"):
            problem(await other.post(path, {}), "missing-scope")


async def test_a_repeated_transaction_is_answered_byte_for_byte(tenant: Tenant) -> None:
    body = transaction(
        leg("a", 1, metadata={"b": "2", "a": "\u00e9"}, external_id="x"),
        leg("b", -1),
        transaction_time="2026-03-01T12:00:00Z",
    )
    first = await tenant.post("/transactions", body, key="k")
    again = await tenant.post("/transactions", body, key="k")
    assert first.status_code == again.status_code == 201
    assert again.content == first.content
    assert REPLAYED not in first.headers
    assert again.headers[REPLAYED] == "true"
    for other in (
        {**body, "transaction_time": "2026-03-01T12:00:01Z"},
        transaction(*reversed(body["legs"]), transaction_time=body["transaction_time"]),
    ):
        answer = await tenant.post("/transactions", other, key="k")
        problem(answer, "idempotency-key-reused")
    # A batch of the same events is no transaction.
    problem(
        await tenant.post("/events/batch", {"events": body["legs"]}, key="k"),
        "idempotency-key-reused",
    )
    assert (await tenant.lag()).head_seq == 2


async def test_an_external_id_of_an_earlier_event_refuses_the_whole_transaction(
    tenant: Tenant,
) -> None:
    first = await tenant.append(external_id="x")
    body = transaction(leg("a", 1), leg("b", -1, external_id="x"))
    conflict = problem(await tenant.post("/transactions", body), "duplicate-external-id")
    assert conflict["existing_event_id"] == first.event_id
    assert {"account_id", "amount_minor"} <= set(conflict["differs"])
    assert conflict["errors"][0]["pointer"].startswith("/legs/1/")
    assert (await tenant.lag()).head_seq == 1


async def test_a_reversal_undoes_all_legs_and_restores_the_balances(tenant: Tenant) -> None:
    await tenant.append(account_id="a", amount_minor=7)
    body = [leg("a", -5, external_id="x"), leg("b", 4), leg("c", 1)]
    document = await transfer(tenant, *body, transaction_time="2026-03-01T12:00:00Z")
    await tenant.append(account_id="b", amount_minor=1)
    path = f"/transactions/{document['transaction_id']}/reversal"
    early = await tenant.post(path, {"transaction_time": "2026-03-01T11:59:59Z"}, key="k")
    assert pointers(early) == ["/transaction_time"]
    reason = {"reason": "by mistake", "transaction_time": "2026-03-02T09:00:00Z"}
    first = await tenant.post(path, reason, key="k")
    reversal = created(first)
    assert list(reversal) == ["transaction_id", "reverses_transaction_id", "events"]
    assert reversal["reverses_transaction_id"] == document["transaction_id"]
    events = reversal["events"]
    assert reversal["transaction_id"] == events[0]["event_id"]
    assert [event["seq"] for event in events] == [6, 7, 8]
    for event, undone in zip(events, document["events"], strict=True):
        assert event["event_type"] == "REVERSAL"
        assert event["amount_minor"] == -undone["amount_minor"]
        assert event["reverses_event_id"] == undone["event_id"]
        assert event["transaction_id"] == reversal["transaction_id"]
        assert event["metadata"] == {"reason": "by mistake"}
        assert event["transaction_time"] == "2026-03-02T09:00:00.000000Z"
        read = found(await tenant.get(f"/events/{event['event_id']}"))
        assert read == {**event, **NOT_UNDONE}
    assert found(await tenant.get(f"/transactions/{reversal['transaction_id']}")) == reversal
    await tenant.caught_up()
    assert await tenant.all_balances() == {("a", "USD"): 7, ("b", "USD"): 1, ("c", "USD"): 0}
    again = await tenant.post(path, reason, key="k")
    assert again.content == first.content
    assert again.headers[REPLAYED] == "true"


@pytest.mark.parametrize("body", [None, b"", {}])
async def test_a_reversal_needs_no_words_and_can_be_reversed_itself(
    tenant: Tenant, body: object
) -> None:
    document = await transfer(tenant, leg("a", -5), leg("b", 5))
    for amount in (0, -5):
        path = f"/transactions/{document['transaction_id']}/reversal"
        document = created(await tenant.post(path, body))
        assert (await funds(tenant, "a")).posted == amount


async def test_a_reversal_made_again_names_the_existing_one(tenant: Tenant) -> None:
    document = await transfer(tenant, leg("a", -5), leg("b", 5))
    path = f"/transactions/{document['transaction_id']}/reversal"
    answers = await asyncio.gather(*(tenant.post(path) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7
    (made,) = (answer.json() for answer in answers if answer.status_code == 201)
    for answer in (*answers, await tenant.post(path)):
        if answer.status_code == 409:
            conflict = problem(answer, "already-reversed")
            assert conflict["existing_transaction_id"] == made["transaction_id"]
            assert made["transaction_id"] in conflict["detail"]
    assert (await tenant.lag()).head_seq == 4


async def test_one_leg_alone_is_not_reversed(tenant: Tenant) -> None:
    document = await transfer(tenant, leg("a", -5), leg("b", 5))

    async def refuse_each_leg(of: Document) -> None:
        for event in of["events"]:
            answer = await tenant.post(f"/events/{event['event_id']}/reversal")
            refusal = problem(answer, "not-reversible")
            assert refusal["transaction_id"] == of["transaction_id"]
            assert of["transaction_id"] in refusal["detail"]
            assert refusal["errors"] == [{"pointer": "", "detail": refusal["detail"]}]

    await refuse_each_leg(document)
    path = f"/transactions/{document['transaction_id']}/reversal"
    await refuse_each_leg(created(await tenant.post(path)))
    assert (await tenant.lag()).head_seq == 4


async def test_a_transaction_that_is_not_there_cannot_be_reversed(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    event = await tenant.append()
    document = await transfer(tenant, leg("a", -5), leg("b", 5))
    theirs = await transfer(other_tenant, leg("a", -5), leg("b", 5))
    unknown = await tenant.post(f"/transactions/{uuid4()}/reversal")
    for name in (
        theirs["transaction_id"],
        event.event_id,
        document["events"][1]["event_id"],
        "0",
        "%20",
        "0" * 4000,
    ):
        answer = await tenant.post(f"/transactions/{name}/reversal")
        problem(answer, "not-found")
        assert answer.content == unknown.content
    assert (await tenant.lag()).head_seq == 3


async def test_a_transaction_with_an_irreversible_leg_cannot_be_reversed(tenant: Tenant) -> None:
    document = await transfer(tenant, leg("a", 2**62), leg("a", 2**62), leg("b", -(2**63)))
    path = f"/transactions/{document['transaction_id']}/reversal"
    problem(await tenant.post(path), "not-reversible")
    assert (await tenant.lag()).head_seq == 3


async def test_legs_are_netted_before_an_accounts_limit_is_looked_at(tenant: Tenant) -> None:
    await endow(tenant, 10)
    await transfer(tenant, leg("cus_42", -500), leg("bank", 10), leg("cus_42", 490))
    assert (await funds(tenant)).available == 0
    body = transaction(leg("bank", 1), leg("cus_42", 500), leg("cus_42", -501))
    answer = await tenant.post("/transactions", body)
    refusal = problem(answer, "insufficient-funds")
    assert [fault["pointer"] for fault in refusal["errors"]] == ["/legs/2/amount_minor"]
    assert "cus_42" in refusal["detail"]
    assert (await tenant.lag()).head_seq == 4


async def test_a_reversal_that_would_take_too_much_is_refused(tenant: Tenant) -> None:
    await endow(tenant, 10)
    document = await transfer(tenant, leg("bank", -5), leg("cus_42", 5))
    await tenant.append(amount_minor=-12)
    path = f"/transactions/{document['transaction_id']}/reversal"
    refusal = problem(await tenant.post(path, key="k"), "insufficient-funds")
    assert refusal["detail"] == "cus_42 in USD would be taken below its limit"
    assert refusal["errors"] == [{"pointer": "", "detail": refusal["detail"]}]
    await tenant.append(amount_minor=2)
    # A refused request is not remembered.
    created(await tenant.post(path, key="k"))
    assert await funds(tenant) == (0, 0, 0)


async def test_transactions_and_events_at_once_lose_nothing(tenant: Tenant) -> None:
    async def move(n: int) -> None:
        await transfer(tenant, leg(f"a{n % 5}", -n), leg(f"b{n % 3}", n))

    async with asyncio.TaskGroup() as group:
        for n in range(1, 61):
            group.create_task(move(n))
            group.create_task(tenant.append(**event_body(account_id="c", amount_minor=n)))
    events = await tenant.all_events()
    assert [event.seq for event in events] == list(range(1, 181))
    legs = [event for event in events if event.transaction_id]
    for first, second in zip(legs[::2], legs[1::2], strict=True):
        assert first.event_id == first.transaction_id == second.transaction_id
        assert second.seq == first.seq + 1
        assert first.amount_minor + second.amount_minor == 0
