"""Event types: what a tenant declares of them holds for every way in."""

import asyncio
import json
from typing import Any

import pytest

from support.answers import created, found, pointers, problem
from support.clients import Tenant, event_body
from support.documents import Document
from support.funds import hold, leg
from support.upstream import Upstream, refusal

EVENT_TYPES_MAX = 1_000


async def declare(tenant: Tenant, event_type: str, sign: str, description: str = "") -> Document:
    body = {"sign": sign, "description": description}
    return found(await tenant.ask_ingest("PUT", f"/event-types/{event_type}", body))


async def close(tenant: Tenant, *, closed: bool = True) -> None:
    answer = await tenant.ask_ingest("PUT", "/event-types", {"closed": closed})
    assert found(answer) == {"closed": closed}


async def imported(tenant: Tenant, *lines: Document) -> Document:
    """What became of an import."""
    body = "\n".join(json.dumps(line) for line in lines).encode()
    answer = await tenant.post(
        "/events/import", body, key=None, headers={"Content-Type": "application/x-ndjson"}
    )
    result: Document = json.loads(answer.text.splitlines()[-1])
    return result


async def declared(tenant: Tenant, **params: Any) -> Document:
    return found(await tenant.ask_ingest("GET", "/event-types", params=params))


async def test_declared_types_are_listed_in_order_of_their_names(tenant: Tenant) -> None:
    assert await declared(tenant) == {"closed": False, "data": [], "next_cursor": None}
    refund = await declare(tenant, "REFUND", "negative", 'Money "back" \u00e9')
    charge = await declare(tenant, "CHARGE", "positive")
    assert charge == {"event_type": "CHARGE", "sign": "positive", "description": ""}
    await close(tenant)
    assert await declared(tenant) == {"closed": True, "data": [charge, refund], "next_cursor": None}
    changed = await declare(tenant, "CHARGE", "any", "Whatever it is.")
    assert (await declared(tenant))["data"] == [changed, refund]


async def test_declared_types_are_listed_page_by_page(tenant: Tenant, other_tenant: Tenant) -> None:
    names = ["A", "AB", "A_B", "B", "C1"]
    for name in reversed(names):
        await declare(tenant, name, "any")
    await close(tenant)
    pages: list[list[str]] = []
    params: dict[str, Any] = {"limit": 2}
    while params.get("cursor", "") is not None:
        page = await declared(tenant, **params)
        assert page["closed"]
        pages.append([entry["event_type"] for entry in page["data"]])
        # What is declared before the place where a page ended comes on none that follows.
        await declare(tenant, "AA", "any")
        params["cursor"] = page["next_cursor"]
    assert pages == [names[:2], names[2:4], names[4:]]
    # A page that is full is the last one where nothing follows.
    assert (await declared(tenant, limit=6))["next_cursor"] is None
    cursor = (await declared(tenant, limit=2))["next_cursor"]
    for asked, params in (
        (other_tenant, {"cursor": cursor}),
        (tenant, {"cursor": cursor + "A"}),
        (tenant, {"cursor": ""}),
    ):
        answer = await asked.ask_ingest("GET", "/event-types", params=params)
        assert pointers(answer) == ["/cursor"]


@pytest.mark.parametrize(
    ("params", "pointer"),
    [({"limit": 0}, "/limit"), ({"limit": 1001}, "/limit"), ({"sign": "any"}, "/sign")],
)
async def test_a_list_takes_limit_and_cursor_only(
    refused_tenant: Tenant, params: dict[str, Any], pointer: str
) -> None:
    answer = await refused_tenant.ask_ingest("GET", "/event-types", params=params)
    assert pointers(answer) == [pointer]


@pytest.mark.parametrize(("sign", "taken", "refused"), [("positive", 1, -1), ("negative", -1, 1)])
async def test_an_amount_with_the_wrong_sign_is_refused(
    tenant: Tenant, sign: str, taken: int, refused: int
) -> None:
    await declare(tenant, "CHARGE", sign)
    answer = await tenant.post("/events", event_body(amount_minor=refused))
    assert pointers(answer) == ["/amount_minor"]
    assert f"CHARGE is declared for {sign} amounts only" in answer.json()["detail"]
    await tenant.append(amount_minor=taken)
    # Other types are free as long as the list is open.
    await tenant.append(amount_minor=refused, event_type="OTHER")
    # What was taken stays, whatever is declared later.
    await declare(tenant, "CHARGE", "negative" if sign == "positive" else "positive")
    await tenant.append(amount_minor=refused)
    await declare(tenant, "CHARGE", "any")
    for amount in (taken, refused):
        await tenant.append(amount_minor=amount)
    assert (await tenant.lag()).head_seq == 5


async def test_a_closed_list_refuses_other_types_until_it_is_open_again(tenant: Tenant) -> None:
    await declare(tenant, "CHARGE", "any")
    await close(tenant)
    answer = await tenant.post("/events", event_body(event_type="FEE"), key="k")
    assert pointers(answer) == ["/event_type"]
    assert "FEE is not among the declared event types" in answer.json()["detail"]
    event = await tenant.append()
    # Not an event type that anybody chooses.
    await tenant.reverse(event.event_id)
    await hold(tenant)
    await close(tenant, closed=False)
    # A refused request is not remembered.
    created(await tenant.post("/events", event_body(event_type="FEE"), key="k"))
    assert (await tenant.lag()).head_seq == 4


async def test_rules_hold_for_batches_and_for_legs_and_the_place_is_named(tenant: Tenant) -> None:
    await declare(tenant, "CHARGE", "positive")
    await declare(tenant, "TRANSFER", "any")
    await close(tenant)
    charge, wrong, unknown = (
        event_body(amount_minor=5),
        event_body(amount_minor=-5),
        event_body(amount_minor=-5, event_type="FEE"),
    )
    for path, name in (("/events/batch", "events"), ("/transactions", "legs")):
        body = {name: [leg("a", 1), leg("a", -1), charge, wrong]}
        assert pointers(await tenant.post(path, body)) == [f"/{name}/3/amount_minor"]
        body = {name: [charge, unknown, leg("a", 1), leg("a", -1)]}
        assert pointers(await tenant.post(path, body)) == [f"/{name}/1/event_type"]
    body = {"legs": [charge, leg("a", -5)]}
    created(await tenant.post("/transactions", body))
    assert (await tenant.lag()).head_seq == 2


async def test_rules_hold_for_messages_too(tenant: Tenant, upstream: Upstream) -> None:
    await close(tenant)
    for body, pointer in (
        (event_body(), "/event_type"),
        ({"events": [event_body()]}, "/events/0/event_type"),
    ):
        answer = refusal(await upstream.ask(tenant, body), "validation-failed")
        assert [fault["pointer"] for fault in answer["errors"]] == [pointer]
    assert (await tenant.lag()).head_seq == 0


async def test_rules_hold_for_the_lines_of_an_import_too(tenant: Tenant) -> None:
    await declare(tenant, "CHARGE", "positive")
    result = await imported(
        tenant, event_body(external_id="a"), event_body(external_id="b", amount_minor=-1)
    )
    assert (result["accepted"], result["rejected_count"]) == (1, 1)
    assert result["rejected"][0]["line"] == 2
    assert result["rejected"][0]["errors"][0]["pointer"] == "/amount_minor"


async def test_the_ledgers_own_types_are_refused_on_every_way_in(
    tenant: Tenant, upstream: Upstream
) -> None:
    for own in ("REVERSAL", "HOLD", "HOLD_CAPTURE", "HOLD_RELEASE", "HOLD_EXPIRY", "HOLD_NEW"):
        body = event_body(event_type=own, external_id=own)
        assert pointers(await tenant.post("/events", body)) == ["/event_type"]
        for path, name in (("/events/batch", "events"), ("/transactions", "legs")):
            several = {name: [leg("a", body["amount_minor"] * -1), body]}
            assert pointers(await tenant.post(path, several)) == [f"/{name}/1/event_type"]
        answer = refusal(await upstream.ask(tenant, body), "validation-failed")
        assert [fault["pointer"] for fault in answer["errors"]] == ["/event_type"]
        (rejected,) = (await imported(tenant, body))["rejected"]
        assert rejected["errors"][0]["pointer"] == "/event_type"
        declaring = await tenant.ask_ingest("PUT", f"/event-types/{own}", {"sign": "any"})
        assert pointers(declaring) == ["/event_type"]
    assert (await tenant.lag()).head_seq == 0
    created(await tenant.post("/events", event_body(event_type="THRESHOLD")))


REFUSED: dict[str, tuple[str, Any, list[str]]] = {
    "no sign": ("CHARGE", {"description": "x"}, ["/sign"]),
    "a sign that is none": ("CHARGE", {"sign": "+"}, ["/sign"]),
    "a sign in capitals": ("CHARGE", {"sign": "Positive"}, ["/sign"]),
    "a description too long": (
        "CHARGE",
        {"sign": "any", "description": "x" * 501},
        ["/description"],
    ),
    "a control character": ("CHARGE", {"sign": "any", "description": "a\u0000"}, ["/description"]),
    "a field too many": ("CHARGE", {"sign": "any", "closed": True}, ["/closed"]),
    "a list": ("CHARGE", [], [""]),
    "a type in small letters": ("charge", {"sign": "any"}, ["/event_type"]),
    "a type that begins with a digit": ("1CHARGE", {"sign": "any"}, ["/event_type"]),
    "a type that ends its line": ("CHARGE%0A", {"sign": "any"}, ["/event_type"]),
    "a type too long": ("A" * 51, {"sign": "any"}, ["/event_type"]),
    "a parameter": ("CHARGE?dry=1", {"sign": "any"}, ["/dry"]),
}


@pytest.mark.parametrize(("name", "body", "places"), REFUSED.values(), ids=REFUSED)
async def test_a_declaration_that_breaks_a_rule_is_refused(
    refused_tenant: Tenant, name: str, body: Any, places: list[str]
) -> None:
    answer = await refused_tenant.ask_ingest("PUT", f"/event-types/{name}", body)
    assert pointers(answer) == places
    assert (await declared(refused_tenant))["data"] == []


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({}, ["/closed"]),
        ({"closed": None}, ["/closed"]),
        ({"closed": "true"}, ["/closed"]),
        ({"closed": 1}, ["/closed"]),
        ({"closed": True, "open": False}, ["/open"]),
    ],
)
async def test_a_switch_is_on_or_off(refused_tenant: Tenant, body: Any, places: list[str]) -> None:
    answer = await refused_tenant.ask_ingest("PUT", "/event-types", body)
    assert pointers(answer) == places
    assert not (await declared(refused_tenant))["closed"]


async def test_a_reader_sees_the_rules_and_only_a_writer_sets_them(tenant: Tenant) -> None:
    reader = await tenant.limited_to("read")
    assert (await declared(reader))["data"] == []
    for path, body in (
        ("/event-types", {"closed": True}),
        ("/event-types/CHARGE", {"sign": "any"}),
    ):
        problem(await reader.ask_ingest("PUT", path, body), "missing-scope")
    writer = await tenant.limited_to("ingest")
    await declare(writer, "CHARGE", "any")
    assert (await declared(writer))["data"]
    auditor = await tenant.limited_to("audit")
    problem(await auditor.ask_ingest("GET", "/event-types"), "missing-scope")
    problem(await tenant.ask_ingest("PUT", "/event-types", b"{"), "malformed-json")


async def test_a_thousand_types_can_be_declared_and_no_more(tenant: Tenant) -> None:
    names = [f"T{n}" for n in range(EVENT_TYPES_MAX)]
    # A few at a time: a client with a thousand requests waiting is busy with those alone.
    for wave in range(0, EVENT_TYPES_MAX, 20):
        await asyncio.gather(*(declare(tenant, name, "any") for name in names[wave : wave + 20]))
    answer = await tenant.ask_ingest("PUT", "/event-types/ONE_MORE", {"sign": "any"})
    assert pointers(answer) == ["/event_type"]
    # Those that are declared can still be changed.
    await declare(tenant, "T0", "positive")
    listed = await declared(tenant, limit=EVENT_TYPES_MAX)
    assert [entry["event_type"] for entry in listed["data"]] == sorted(names)
    assert listed["next_cursor"] is None
    # As of every list, a hundred at a time where nothing else is asked for.
    listed = await declared(tenant)
    assert [entry["event_type"] for entry in listed["data"]] == sorted(names)[:100]
    listed = await declared(tenant, cursor=listed["next_cursor"], limit=EVENT_TYPES_MAX)
    assert [entry["event_type"] for entry in listed["data"]] == sorted(names)[100:]
