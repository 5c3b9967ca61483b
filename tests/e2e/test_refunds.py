"""Giving back a part of an event: on every route, and never more than there was."""

from typing import Any
from uuid import uuid4

import pytest

from support.answers import created, found, pointers, problem
from support.clients import Tenant, event_body, event_of
from support.documents import Document
from support.uploads import imported, line
from support.upstream import Upstream, accepted, refusal


def refund_body(event_id: str, amount_minor: int, **changes: Any) -> Document:
    return event_body(
        event_type="REFUND", amount_minor=amount_minor, refunds_event_id=event_id, **changes
    )


def refund_line(event_id: str, amount_minor: int, external_id: str) -> bytes:
    return line(**refund_body(event_id, amount_minor, external_id=external_id))


async def test_a_refund_names_its_event_and_the_event_shows_it(tenant: Tenant) -> None:
    event = created(await tenant.post("/events", event_body()))
    refund = created(await tenant.post("/events", refund_body(event["event_id"], -500)))
    assert (refund["refunds_event_id"], refund["amount_minor"]) == (event["event_id"], -500)
    assert list(refund) == list(event)
    assert event["refunds_event_id"] is None
    assert found(await tenant.get(f"/events/{event['event_id']}")) == {
        **event,
        "reversed_by_event_id": None,
        "refunded_minor": 500,
        "refunds": [
            {"event_id": refund["event_id"], "amount_minor": -500, "reversed_by_event_id": None}
        ],
    }
    (listed,) = await tenant.all_events(refunds_event_id=event["event_id"])
    assert listed == event_of(refund)
    assert await tenant.balances("cus_42", consistency="strong") == {"USD": 1500}


async def test_no_route_gives_back_more_than_there_was(tenant: Tenant, upstream: Upstream) -> None:
    event = await tenant.append(amount_minor=100)
    too_much = refund_body(event.event_id, -101)
    leg = event_body(account_id="bank", amount_minor=101)
    for path, body, place in (
        ("/events", too_much, ""),
        ("/events/batch", {"events": [event_body(), too_much]}, "/events/1"),
        ("/transactions", {"legs": [leg, too_much]}, "/legs/1"),
    ):
        answer = await tenant.post(path, body)
        assert pointers(answer, "refund-not-allowed") == [f"{place}/amount_minor"]
        assert f"left of event {event.event_id}, which is 100" in answer.json()["detail"]
    message = await upstream.ask(tenant, too_much, message_id="refund of too much")
    assert refusal(message, "refund-not-allowed")["errors"][0]["pointer"] == "/amount_minor"
    last = await imported(
        tenant, refund_line(event.event_id, -101, "re_1") + refund_line(event.event_id, -60, "re_2")
    )
    assert (last["accepted"], [entry["line"] for entry in last["rejected"]]) == (1, [1])
    assert last["rejected"][0]["type"] == "/problems/refund-not-allowed"
    # The rest is left, for any of them.
    part = refund_body(event.event_id, -10)
    created(await tenant.post("/events", part))
    created(await tenant.post("/events/batch", {"events": [part]}))
    back = {"legs": [part, event_body(account_id="bank", amount_minor=10)]}
    legs = created(await tenant.post("/transactions", back))["events"]
    assert [leg["refunds_event_id"] for leg in legs] == [event.event_id, None]
    assert accepted(await upstream.ask(tenant, part, message_id="refund"))["amount_minor"] == -10
    assert found(await tenant.get(f"/events/{event.event_id}"))["refunded_minor"] == 100


async def test_a_refund_that_does_not_fit_says_why(tenant: Tenant, other_tenant: Tenant) -> None:
    event, theirs = await tenant.append(), await other_tenant.append()
    refund = created(await tenant.post("/events", refund_body(event.event_id, -1)))
    reversal = await tenant.reverse((await tenant.append()).event_id)
    hold = created(
        await tenant.post("/holds", {"account_id": "cus_42", "currency": "USD", "amount_minor": 5})
    )
    unknown = await tenant.post("/events", refund_body(str(uuid4()), -1))
    foreign = await tenant.post("/events", refund_body(theirs.event_id, -1))
    assert foreign.json() == unknown.json()
    for answer, place in (
        (unknown, "/refunds_event_id"),
        (await tenant.post("/events", refund_body(refund["event_id"], 1)), "/refunds_event_id"),
        (await tenant.post("/events", refund_body(reversal.event_id, 1)), "/refunds_event_id"),
        (await tenant.post("/events", refund_body(hold["event_id"], 1)), "/refunds_event_id"),
        (
            await tenant.post("/events", refund_body(event.event_id, -1, account_id="a")),
            "/account_id",
        ),
        (
            await tenant.post("/events", refund_body(event.event_id, -1, currency="EUR")),
            "/currency",
        ),
        (await tenant.post("/events", refund_body(event.event_id, 1)), "/amount_minor"),
    ):
        assert pointers(answer, "refund-not-allowed") == [place]


@pytest.mark.parametrize("event_id", ["", "1", 7, [], "{019ca9a8-5a00-7000-8000-0007c0a8d5e1}"])
async def test_what_is_no_id_of_an_event_breaks_a_rule(
    refused_tenant: Tenant, event_id: object
) -> None:
    answer = await refused_tenant.post("/events", event_body(refunds_event_id=event_id))
    problem(answer, "validation-failed")
    assert pointers(answer) == ["/refunds_event_id"]


async def test_an_event_is_either_refunded_or_reversed(tenant: Tenant) -> None:
    refunded, undone = await tenant.append(), await tenant.append()
    refund = created(await tenant.post("/events", refund_body(refunded.event_id, -500)))
    conflict = problem(
        await tenant.post(f"/events/{refunded.event_id}/reversal"), "already-refunded"
    )
    assert conflict["refunded_event_id"] == refunded.event_id
    assert "1500, after refunds" in conflict["detail"]
    await tenant.reverse(undone.event_id)
    problem(await tenant.post("/events", refund_body(undone.event_id, -1)), "refund-not-allowed")
    # A mistaken refund is reversed, and leaves all of the event.
    await tenant.reverse(refund["event_id"])
    await tenant.reverse(refunded.event_id)
    assert await tenant.balances("cus_42", consistency="strong") == {"USD": 0}


async def test_a_transaction_with_a_refunded_leg_is_not_reversed(tenant: Tenant) -> None:
    legs = [event_body(), event_body(account_id="bank", amount_minor=-2000)]
    sale = created(await tenant.post("/transactions", {"legs": legs}))
    created(await tenant.post("/events", refund_body(sale["events"][0]["event_id"], -1)))
    answer = await tenant.post(f"/transactions/{sale['transaction_id']}/reversal")
    assert problem(answer, "already-refunded")["refunded_event_id"] == sale["transaction_id"]


async def test_what_is_refunded_is_part_of_the_request(tenant: Tenant) -> None:
    one, other = await tenant.append(), await tenant.append()
    body = refund_body(one.event_id, -5, external_id="re_1")
    first = await tenant.post("/events", body, key="k")
    again = await tenant.post("/events", body, key="k")
    assert again.content == first.content
    elsewhere = refund_body(other.event_id, -5, external_id="re_1")
    problem(await tenant.post("/events", elsewhere, key="k"), "idempotency-key-reused")
    conflict = problem(await tenant.post("/events", elsewhere), "duplicate-external-id")
    assert conflict["differs"] == ["refunds_event_id"]
    last = await imported(
        tenant, refund_line(one.event_id, -5, "re_1") + refund_line(other.event_id, -5, "re_1")
    )
    assert (last["duplicates"], last["conflicts"]) == (1, 1)
