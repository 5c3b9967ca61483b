"""Appending events together: all or none, up to ten thousand."""

import asyncio

import pytest

from support.answers import NOT_UNDONE, created, pointers, problem
from support.clients import Tenant, event_body
from support.documents import Document

EVENTS_MAX = 10_000


async def test_a_batch_is_answered_with_its_events_in_order(tenant: Tenant) -> None:
    await tenant.append()
    events = [event_body(account_id=f"a{n}", amount_minor=n) for n in range(1, 21)]
    document = created(await tenant.post("/events/batch", {"events": events}))
    assert list(document) == ["first_seq", "last_seq", "events"]
    assert (document["first_seq"], document["last_seq"]) == (2, 21)
    answered = document["events"]
    assert [event["seq"] for event in answered] == list(range(2, 22))
    assert [event["account_id"] for event in answered] == [e["account_id"] for e in events]
    assert [event["amount_minor"] for event in answered] == list(range(1, 21))
    ids = [event["event_id"] for event in answered]
    assert ids == sorted(set(ids))
    for event in (answered[0], answered[-1]):
        assert (await tenant.get(f"/events/{event['event_id']}")).json() == {**event, **NOT_UNDONE}


async def test_the_events_are_left_out_where_that_is_preferred(tenant: Tenant) -> None:
    preferences = {
        "return=minimal": True,
        "respond-async, return=minimal": True,
        'x="a\\", b", return=minimal, return=representation': True,
        "return=representation, return=minimal": False,
        'x="a, return=minimal"': False,
        'x="a, return=minimal': False,
    }
    for preference, is_minimal in preferences.items():
        answer = await tenant.post(
            "/events/batch",
            {"events": [event_body(), event_body()]},
            headers={"Prefer": preference},
        )
        assert ("events" not in created(answer)) is is_minimal
        applied = "return=minimal" if is_minimal else None
        assert answer.headers.get("preference-applied") == applied
    assert (await tenant.lag()).head_seq == 12


async def test_ten_thousand_events_go_at_once_and_one_more_does_not(tenant: Tenant) -> None:
    events = [event_body(account_id=f"a{n % 100}", amount_minor=1) for n in range(EVENTS_MAX)]
    answer = await tenant.post("/events/batch", {"events": [*events, event_body()]})
    assert pointers(answer) == ["/events"]
    assert (await tenant.lag()).head_seq == 0
    document = created(await tenant.post("/events/batch", {"events": events}))
    assert (document["first_seq"], document["last_seq"]) == (1, EVENTS_MAX)
    assert len(document["events"]) == EVENTS_MAX
    await tenant.caught_up()
    assert await tenant.all_balances() == {(f"a{n}", "USD"): 100 for n in range(100)}


async def test_large_batches_at_once_are_appended_once_each_and_stand_together(
    tenant: Tenant,
) -> None:
    """So much waits that two appends are under way, and both may have the same request."""
    batches = [[event_body(account_id=f"a{n}", amount_minor=1)] * 600 for n in range(8)]
    answers = await asyncio.gather(
        *(
            tenant.post("/events/batch", {"events": events}, key=f"key-{n}")
            for n, events in enumerate(batches)
            for _ in range(2)
        )
    )
    documents = [created(answer) for answer in answers]
    assert documents[::2] == documents[1::2]
    ranges = sorted((each["first_seq"], each["last_seq"]) for each in documents[::2])
    assert ranges == [(first, first + 599) for first in range(1, 4801, 600)]
    for number, document in enumerate(documents[::2]):
        assert {event["account_id"] for event in document["events"]} == {f"a{number}"}
    await tenant.caught_up()
    assert await tenant.all_balances() == {(f"a{n}", "USD"): 600 for n in range(8)}


REFUSED: dict[str, tuple[Document, list[str]]] = {
    "no events": ({"events": []}, ["/events"]),
    "events left out": ({}, ["/events"]),
    "events null": ({"events": None}, ["/events"]),
    "events as one event": ({"events": event_body()}, ["/events"]),
    "a field too many": ({"events": [event_body()], "colour": "red"}, ["/colour"]),
    "an event that is none": ({"events": [event_body(), 7]}, ["/events/1"]),
    "faults in two events": (
        {"events": [event_body(amount_minor=0), event_body(), event_body(currency="usd")]},
        ["/events/0/amount_minor", "/events/2/currency"],
    ),
    "a field too many in an event": (
        {"events": [event_body(), event_body(colour="red")]},
        ["/events/1/colour"],
    ),
    "an external id twice": (
        {
            "events": [
                event_body(external_id="a"),
                event_body(external_id="b"),
                event_body(),
                event_body(external_id="a"),
            ]
        },
        ["/events/0/external_id", "/events/3/external_id"],
    ),
}


@pytest.mark.parametrize(("body", "places"), REFUSED.values(), ids=REFUSED)
async def test_one_fault_refuses_the_whole_batch(
    refused_tenant: Tenant, body: Document, places: list[str]
) -> None:
    assert sorted(pointers(await refused_tenant.post("/events/batch", body))) == places
    assert (await refused_tenant.lag()).head_seq == 0


async def test_no_more_than_a_hundred_faults_are_listed(refused_tenant: Tenant) -> None:
    body = {"events": [event_body(amount_minor=0)] * 200}
    assert len(pointers(await refused_tenant.post("/events/batch", body))) == 100


async def test_an_external_id_of_an_earlier_event_refuses_the_whole_batch(tenant: Tenant) -> None:
    first = await tenant.append(external_id="ch_1")
    body = {"events": [event_body(), event_body(external_id="ch_1"), event_body()]}
    conflict = problem(await tenant.post("/events/batch", body), "duplicate-external-id")
    assert conflict["existing_event_id"] == first.event_id
    assert (conflict["external_id"], conflict["differs"]) == ("ch_1", [])
    body = {"events": [event_body(), event_body(external_id="ch_1", amount_minor=7)]}
    conflict = problem(await tenant.post("/events/batch", body), "duplicate-external-id")
    assert conflict["differs"] == ["amount_minor"]
    assert [fault["pointer"] for fault in conflict["errors"]] == ["/events/1/amount_minor"]
    assert (await tenant.lag()).head_seq == 1


async def test_an_external_id_names_one_event_for_good(tenant: Tenant) -> None:
    first = await tenant.append(external_id="ch_1")
    await tenant.reverse(first.event_id)
    answer = await tenant.post("/events", event_body(external_id="ch_1", amount_minor=7))
    conflict = problem(answer, "duplicate-external-id")
    assert conflict["existing_event_id"] == first.event_id
    assert first.event_id in conflict["detail"]


async def test_an_external_id_is_unique_for_a_tenant_only(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    await tenant.append(external_id="ch_1")
    assert (await other_tenant.append(external_id="ch_1")).seq == 1
