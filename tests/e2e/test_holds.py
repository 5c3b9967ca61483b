"""Holds: what they set aside, and that each is settled once, by hand or by time."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from support.answers import created, found, pointers, problem
from support.clients import Tenant, event_body
from support.documents import Document
from support.funds import endow, from_now, funds, hold, hold_body
from support.waiting import eventually

REPLAYED = "idempotency-replayed"


async def test_a_hold_lowers_what_is_available_and_not_the_balance(tenant: Tenant) -> None:
    await tenant.append(amount_minor=100)
    expires_at = from_now(days=7)
    document = await hold(
        tenant, expires_at=expires_at, external_id="auth_1", metadata={"b": "2", "a": "1"}
    )
    event = found(await tenant.get(f"/events/{document['hold_id']}"))
    assert document == {
        "hold_id": event["event_id"],
        "status": "pending",
        "account_id": "cus_42",
        "currency": "USD",
        "amount_minor": 30,
        "captured_minor": 0,
        "expires_at": expires_at,
        "created_at": event["recorded_at"],
        "settled_at": None,
        "external_id": "auth_1",
        "metadata": {"b": "2", "a": "1"},
        "event_id": event["event_id"],
        "seq": 2,
    }
    assert (event["event_type"], event["amount_minor"], event["held_minor"]) == ("HOLD", 0, 30)
    assert event["hold_id"] == document["hold_id"]
    assert found(await tenant.get(f"/holds/{document['hold_id']}")) == document
    assert await funds(tenant) == (100, 30, 70)
    await tenant.caught_up()
    (balance,) = [each async for each in tenant.client.list_balances()]
    assert (balance.held_minor, balance.available_minor) == (30, 70)


@pytest.mark.parametrize(
    ("path", "body", "status", "captured"),
    [
        ("capture", None, "captured", 30),
        ("capture", {}, "captured", 30),
        ("capture", {"amount_minor": None}, "captured", 30),
        ("capture", {"amount_minor": 30}, "captured", 30),
        ("capture", {"amount_minor": 1}, "captured", 1),
        ("release", None, "released", 0),
        ("release", {}, "released", 0),
    ],
)
async def test_a_hold_is_captured_in_whole_or_in_part_or_released(
    tenant: Tenant, path: str, body: Any, status: str, captured: int
) -> None:
    await tenant.append(amount_minor=100)
    placed = await hold(tenant, external_id="auth_1", metadata={"order": "1017"})
    settled = created(await tenant.post(f"/holds/{placed['hold_id']}/{path}", body))
    event = found(await tenant.get(f"/events/{settled['event_id']}"))
    assert settled == placed | {
        "status": status,
        "captured_minor": captured,
        "settled_at": event["recorded_at"],
        "event_id": event["event_id"],
        "seq": 3,
    }
    assert (event["amount_minor"], event["held_minor"]) == (-captured, -30)
    assert found(await tenant.get(f"/holds/{placed['hold_id']}")) == settled
    assert await funds(tenant) == (100 - captured, 0, 100 - captured)
    await tenant.caught_up()
    assert await tenant.all_balances() == {("cus_42", "USD"): 100 - captured}


@pytest.mark.parametrize("first", ["capture", "release"])
async def test_a_hold_is_settled_once(tenant: Tenant, first: str) -> None:
    await tenant.append(amount_minor=100)
    hold_id = (await hold(tenant))["hold_id"]
    settled = created(await tenant.post(f"/holds/{hold_id}/{first}"))
    for path in ("capture", "release"):
        answer = await tenant.post(f"/holds/{hold_id}/{path}")
        conflict = problem(answer, "hold-not-pending")
        assert conflict["hold_status"] == settled["status"]
        assert conflict["existing_event_id"] == settled["event_id"]
    # Even one that asks for more than was ever held.
    answer = await tenant.post(f"/holds/{hold_id}/capture", {"amount_minor": 31})
    problem(answer, "hold-not-pending")
    assert (await tenant.lag()).head_seq == 3
    assert (await funds(tenant)).held == 0


async def test_a_capture_with_an_upgrade_header_is_unchanged(tenant: Tenant) -> None:
    await endow(tenant, 100)
    placed = await hold(tenant, amount_minor=80)
    # As Java's client does of its own accord.
    offer = {
        "Connection": "Upgrade, HTTP2-Settings",
        "Upgrade": "h2c",
        "HTTP2-Settings": "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
    }
    path = f"/holds/{placed['hold_id']}/capture"
    created(await tenant.post(path, {"amount_minor": 50}, headers=offer))
    assert await funds(tenant) == (50, 0, 50)
    created(await tenant.post("/events", event_body(amount_minor=7), headers=offer))
    assert await funds(tenant) == (57, 0, 57)


async def test_what_is_held_is_not_available_to_anything_else(tenant: Tenant) -> None:
    await endow(tenant, 100)
    placed = await hold(tenant, amount_minor=80)
    for path, body in (
        ("/events", event_body(amount_minor=-21)),
        ("/holds", hold_body(amount_minor=21)),
    ):
        refusal = problem(await tenant.post(path, body), "insufficient-funds")
        assert [fault["pointer"] for fault in refusal["errors"]] == ["/amount_minor"]
    await tenant.append(amount_minor=-20)
    assert await funds(tenant) == (80, 80, 0)
    # Its own amount is always there for it, and the rest is free again.
    created(await tenant.post(f"/holds/{placed['hold_id']}/capture", {"amount_minor": 50}))
    assert await funds(tenant) == (30, 0, 30)
    await tenant.append(amount_minor=-30)


async def test_holds_at_once_never_hold_more_than_there_is(tenant: Tenant) -> None:
    await endow(tenant, 50)
    answers = await asyncio.gather(
        *(tenant.post("/holds", hold_body(amount_minor=3)) for _ in range(40))
    )
    placed = [answer.json() for answer in answers if answer.status_code == 201]
    assert len(placed) == 16
    for answer in answers:
        if answer.status_code != 201:
            problem(answer, "insufficient-funds")
    assert await funds(tenant) == (50, 48, 2)


async def test_repeated_requests_are_answered_byte_for_byte_in_whatever_state(
    tenant: Tenant,
) -> None:
    await tenant.append(amount_minor=100)
    wanted = hold_body(expires_at=from_now(days=1), metadata={"b": "\u00e9", "a": "1"})
    placed = await tenant.post("/holds", wanted, key="hold")
    hold_id = created(placed)["hold_id"]
    capture = f"/holds/{hold_id}/capture"
    captured = await tenant.post(capture, {"amount_minor": 10}, key="capture")
    for first, path, sent, key in (
        (placed, "/holds", wanted, "hold"),
        (captured, capture, {"amount_minor": 10}, "capture"),
    ):
        again = await tenant.post(path, sent, key=key)
        assert again.status_code == 201
        assert again.content == first.content
        assert REPLAYED not in first.headers
        assert again.headers[REPLAYED] == "true"
    other = (await hold(tenant))["hold_id"]
    others: list[tuple[str, Any, str]] = [
        ("/holds", {**wanted, "amount_minor": 31}, "hold"),
        ("/holds", {**wanted, "expires_at": None}, "hold"),
        ("/events", event_body(), "hold"),
        (capture, {"amount_minor": 11}, "capture"),
        (capture, None, "capture"),
        (f"/holds/{hold_id}/release", None, "capture"),
        (f"/holds/{other}/capture", {"amount_minor": 10}, "capture"),
    ]
    for path, body, key in others:
        problem(await tenant.post(path, body, key=key), "idempotency-key-reused")
    assert (await tenant.lag()).head_seq == 4


async def test_more_than_is_held_is_not_captured(tenant: Tenant) -> None:
    hold_id = (await hold(tenant))["hold_id"]
    path = f"/holds/{hold_id}/capture"
    for amount in (31, 2**63 - 1):
        answer = await tenant.post(path, {"amount_minor": amount}, key="k")
        assert pointers(answer) == ["/amount_minor"]
    created(await tenant.post(path, {"amount_minor": 30}, key="k"))
    assert await funds(tenant) == (-30, 0, -30)


async def test_a_hold_that_is_not_there_cannot_be_settled(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    event = await tenant.append()
    theirs = await hold(other_tenant)
    settled = created(await tenant.post(f"/holds/{(await hold(tenant))['hold_id']}/capture"))
    for path in ("capture", "release"):
        unknown = await tenant.post(f"/holds/{uuid4()}/{path}")
        for name in (theirs["hold_id"], event.event_id, settled["event_id"], "0", "%20"):
            answer = await tenant.post(f"/holds/{name}/{path}")
            problem(answer, "not-found")
            assert answer.content == unknown.content
    created(await other_tenant.post(f"/holds/{theirs['hold_id']}/release"))


async def test_a_hold_expires_by_itself_and_cannot_be_settled_then(tenant: Tenant) -> None:
    await endow(tenant, 100)
    wanted = hold_body(amount_minor=80, expires_at=from_now(seconds=1))
    placed = await tenant.post("/holds", wanted, key="hold")
    hold_id = created(placed)["hold_id"]

    async def withdrawn() -> bool:
        answer = await tenant.post("/events", event_body(amount_minor=-50))
        if answer.status_code == 422:
            problem(answer, "insufficient-funds")
        return answer.status_code == 201

    await eventually(withdrawn, "the amount is available again")
    assert datetime.now(UTC) >= datetime.fromisoformat(wanted["expires_at"])
    assert await funds(tenant) == (50, 0, 50)
    (expiry,) = [e for e in await tenant.all_events() if e.event_type == "HOLD_EXPIRY"]
    assert (expiry.hold_id, expiry.held_minor) == (hold_id, -80)
    for path in ("capture", "release"):
        conflict = problem(await tenant.post(f"/holds/{hold_id}/{path}"), "hold-not-pending")
        assert conflict["hold_status"] == "expired"
        assert conflict["existing_event_id"] == expiry.event_id
    # What was answered first is still the answer, although its time has passed.
    again = await tenant.post("/holds", wanted, key="hold")
    assert again.content == placed.content
    assert again.headers[REPLAYED] == "true"


async def test_a_hold_without_an_expiry_stays(tenant: Tenant) -> None:
    for expires_at in (None, from_now(days=365 * 1000)):
        assert (await hold(tenant, expires_at=expires_at))["expires_at"] == expires_at
    assert (await funds(tenant)).held == 60


NAMELESS: Document = {"currency": "USD", "amount_minor": 30}
REFUSED: dict[str, tuple[Any, list[str]]] = {
    "no account": (NAMELESS, ["/account_id"]),
    "an account that cannot be": (hold_body(account_id=" "), ["/account_id"]),
    "an unknown currency": (hold_body(currency="usd"), ["/currency"]),
    "an amount of nothing": (hold_body(amount_minor=0), ["/amount_minor"]),
    "a negative amount": (hold_body(amount_minor=-1), ["/amount_minor"]),
    "an amount too large": (hold_body(amount_minor=2**63), ["/amount_minor"]),
    "a float": (hold_body(amount_minor=30.0), ["/amount_minor"]),
    "a string": (hold_body(amount_minor="30"), ["/amount_minor"]),
    "an expiry that has passed": (hold_body(expires_at=from_now(seconds=-1)), ["/expires_at"]),
    "an expiry long ago": (hold_body(expires_at="0001-01-01T00:00:00+14:00"), ["/expires_at"]),
    "an expiry after all time": (hold_body(expires_at="9999-12-31T00:00:00Z"), ["/expires_at"]),
    "an expiry without a zone": (hold_body(expires_at="2999-01-01T00:00:00"), ["/expires_at"]),
    "an event's type": (hold_body(event_type="HOLD"), ["/event_type"]),
    "a control character": (hold_body(external_id="a\n"), ["/external_id"]),
    "a list": ([hold_body()], [""]),
}


@pytest.mark.parametrize(("body", "places"), REFUSED.values(), ids=REFUSED)
async def test_a_hold_that_breaks_a_rule_is_refused(
    refused_tenant: Tenant, body: Any, places: list[str]
) -> None:
    assert pointers(await refused_tenant.post("/holds", body)) == places
    assert (await refused_tenant.lag()).head_seq == 0


@pytest.mark.parametrize(
    ("path", "body", "places"),
    [
        ("capture", {"amount_minor": 0}, ["/amount_minor"]),
        ("capture", {"amount_minor": -1}, ["/amount_minor"]),
        ("capture", {"amount_minor": 2**63}, ["/amount_minor"]),
        ("capture", {"amount_minor": 1.0}, ["/amount_minor"]),
        ("capture", {"currency": "USD"}, ["/currency"]),
        ("capture", [], [""]),
        ("capture?x=1", None, ["/x"]),
        ("release", {"amount_minor": 1}, ["/amount_minor"]),
        ("release", [], [""]),
        ("release?x=1", None, ["/x"]),
    ],
)
async def test_a_settlement_that_breaks_a_rule_is_refused(
    tenant: Tenant, path: str, body: Any, places: list[str]
) -> None:
    hold_id = (await hold(tenant))["hold_id"]
    assert pointers(await tenant.post(f"/holds/{hold_id}/{path}", body)) == places
    assert (await funds(tenant)).held == 30


async def test_every_request_about_a_hold_needs_a_key_and_the_scope(tenant: Tenant) -> None:
    reader = await tenant.limited_to("read")
    for path in ("/holds", f"/holds/{uuid4()}/capture", f"/holds/{uuid4()}/release"):
        problem(await tenant.post(path, hold_body(), key=None), "idempotency-key-missing")
        problem(await tenant.post(path, b"{"), "malformed-json")
        problem(await reader.post(path, hold_body()), "missing-scope")
    answer = await tenant.ask_ingest("GET", "/holds")
    problem(answer, "method-not-allowed")


async def test_an_external_id_names_one_event_or_hold(tenant: Tenant) -> None:
    placed = await hold(tenant, external_id="x")
    for path, body in (
        ("/events", event_body(external_id="x")),
        ("/holds", hold_body(external_id="x")),
    ):
        conflict = problem(await tenant.post(path, body), "duplicate-external-id")
        assert conflict["existing_event_id"] == placed["hold_id"]


async def test_of_a_holds_events_only_a_capture_can_be_reversed(tenant: Tenant) -> None:
    placed, other = await hold(tenant), await hold(tenant)
    captured = created(await tenant.post(f"/holds/{placed['hold_id']}/capture"))
    released = created(await tenant.post(f"/holds/{other['hold_id']}/release"))
    for event_id in (placed["hold_id"], released["event_id"]):
        problem(await tenant.post(f"/events/{event_id}/reversal"), "not-reversible")
    reversal = created(await tenant.post(f"/events/{captured['event_id']}/reversal"))
    assert reversal["amount_minor"] == 30
    assert "hold_id" not in reversal
    assert await funds(tenant) == (0, 0, 0)
