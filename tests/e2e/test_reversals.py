"""Undoing an event by another one: the opposite amount, and never twice."""

from datetime import UTC, datetime, timedelta

import pytest

from support.answers import NOT_UNDONE, created, found, pointers, problem
from support.clients import Tenant, event_body


async def test_a_reversal_is_the_event_with_the_opposite_amount(tenant: Tenant) -> None:
    body = event_body(
        account_id="cus_7",
        event_type="FEE",
        amount_minor=-250,
        currency="EUR",
        transaction_time="2026-03-01T12:00:00Z",
        external_id="fee_1",
        metadata={"plan": "pro"},
    )
    event = created(await tenant.post("/events", body))
    path = f"/events/{event['event_id']}"
    reversal = created(await tenant.post(f"{path}/reversal", {"reason": "charged by mistake"}))
    assert list(reversal) == list(event)
    assert reversal["seq"] == 2
    assert reversal["event_type"] == "REVERSAL"
    assert reversal["amount_minor"] == 250
    assert (reversal["account_id"], reversal["currency"]) == ("cus_7", "EUR")
    assert reversal["reverses_event_id"] == event["event_id"]
    assert reversal["metadata"] == {"reason": "charged by mistake"}
    assert reversal["external_id"] is None
    # The event itself stays as it was.
    assert found(await tenant.get(path)) == {
        **event,
        **NOT_UNDONE,
        "reversed_by_event_id": reversal["event_id"],
    }
    assert await tenant.balances("cus_7", consistency="strong") == {"EUR": 0}


@pytest.mark.parametrize("body", [None, b"", {}, {"reason": None, "transaction_time": None}])
async def test_neither_reason_nor_time_need_be_given(tenant: Tenant, body: object) -> None:
    event = await tenant.append()
    reversal = created(await tenant.post(f"/events/{event.event_id}/reversal", body))
    assert reversal["metadata"] == {}
    assert reversal["transaction_time"] == reversal["recorded_at"]


async def test_a_reversal_may_have_a_time_of_its_own(tenant: Tenant) -> None:
    event = await tenant.append(transaction_time="2026-03-02T08:00:00Z")
    body = {"transaction_time": "2026-03-02T09:00:00+01:00"}
    reversal = created(await tenant.post(f"/events/{event.event_id}/reversal", body))
    assert reversal["transaction_time"] == "2026-03-02T08:00:00.000000Z"
    assert datetime.fromisoformat(reversal["recorded_at"]).year >= datetime.now(UTC).year


async def test_a_reversal_made_again_names_the_existing_one(tenant: Tenant) -> None:
    event = await tenant.append()
    reversal = await tenant.reverse(event.event_id)
    conflict = problem(await tenant.post(f"/events/{event.event_id}/reversal"), "already-reversed")
    assert conflict["existing_event_id"] == reversal.event_id
    assert reversal.event_id in conflict["detail"]
    assert (await tenant.lag()).head_seq == 2


async def test_an_event_of_a_batch_is_reversed_alone(tenant: Tenant) -> None:
    events = await tenant.append_batch(
        [
            {"account_id": f"a{n}", "event_type": "CHARGE", "amount_minor": 10, "currency": "USD"}
            for n in range(3)
        ]
    )
    await tenant.reverse(events[1].event_id)
    await tenant.caught_up()
    assert await tenant.all_balances() == {("a0", "USD"): 10, ("a1", "USD"): 0, ("a2", "USD"): 10}


@pytest.mark.parametrize(
    "event_id", ["0b9c2f6a-4d1e-4c3b-9a7d-5e8f1a2b3c4d", "0", "not-an-id", "%20", "0" * 4000]
)
async def test_an_event_that_is_not_there_cannot_be_reversed(
    refused_tenant: Tenant, event_id: str
) -> None:
    problem(await refused_tenant.post(f"/events/{event_id}/reversal"), "not-found")


async def test_the_smallest_amount_has_no_opposite(tenant: Tenant) -> None:
    event = await tenant.append(amount_minor=-(2**63))
    answer = await tenant.post(f"/events/{event.event_id}/reversal")
    refusal = problem(answer, "not-reversible")
    assert refusal["errors"] == [{"pointer": "", "detail": refusal["detail"]}]
    assert (await tenant.lag()).head_seq == 1
    largest = await tenant.append(amount_minor=2**63 - 1)
    assert (await tenant.reverse(largest.event_id)).amount_minor == -(2**63) + 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"reason": "r" * 501}, "/reason"),
        ({"transaction_time": "2999-01-01T00:00:00Z"}, "/transaction_time"),
        ({"amount_minor": 5}, "/amount_minor"),
        ([], ""),
    ],
)
async def test_a_reversal_that_breaks_a_rule_is_refused(
    tenant: Tenant, body: object, pointer: str
) -> None:
    event = await tenant.append()
    assert pointers(await tenant.post(f"/events/{event.event_id}/reversal", body)) == [pointer]
    assert (await tenant.lag()).head_seq == 1


async def test_a_reversal_is_not_before_its_event(tenant: Tenant) -> None:
    event = await tenant.append(transaction_time="2026-03-01T12:00:00Z")
    path = f"/events/{event.event_id}/reversal"
    early = await tenant.post(path, {"transaction_time": "2026-03-01T11:59:59.999999Z"}, key="k")
    assert pointers(early) == ["/transaction_time"]
    created(await tenant.post(path, {"transaction_time": "2026-03-01T12:00:00Z"}, key="k"))
    ahead = (datetime.now(UTC) + timedelta(hours=20)).isoformat()
    event = await tenant.append(transaction_time=ahead)
    reversal = await tenant.reverse(event.event_id)
    assert reversal.transaction_time == event.transaction_time > reversal.recorded_at


async def test_a_reversals_body_is_json_or_nothing(tenant: Tenant) -> None:
    event = await tenant.append()
    answer = await tenant.post(f"/events/{event.event_id}/reversal", b"reason=x")
    problem(answer, "malformed-json")
