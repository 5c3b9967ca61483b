"""Events by filters, over HTTP. What SQL finds is tested against a model beside the ledger."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest

from freehold.ledger import rules
from freehold.ledger.append import Row
from freehold.security.api_keys import Scope
from integration.query.tenants import Landlord, Tenant, bearer, read_token
from integration.query.test_lists import everything
from support.answers import pointers
from support.builders import new_event

EVENTS = "/v1/events"
PLAN = "a&b=ü %"


@pytest.fixture(scope="module")
async def rows(still_query: httpx.AsyncClient, still_tenant: Tenant) -> Sequence[Row]:
    """Six events; the last two are the legs of a transaction. Two metadata keys are searchable."""
    shapes = [("a", "CHARGE", "USD", 12), ("a", "FEE", "USD", 11), ("b", "CHARGE", "EUR", 13)]
    events = [
        new_event(
            account,
            number,
            event_type=event_type,
            currency=currency,
            transaction_time=datetime(2026, 3, 1, hour, tzinfo=UTC),
            external_id=f"x{number}",
            metadata={"order_id": f"o{number % 2}", "plan": PLAN, "colour": "red"},
        )
        for number, (account, event_type, currency, hour) in enumerate([*shapes, shapes[0]], 1)
    ]
    appended = await still_tenant.append(*events)
    await rules.declare_searchable_metadata(still_tenant.connection, ["order_id", "plan"])
    await still_tenant.project()
    legs = await still_tenant.append(new_event("a", 5), new_event("b", -5), transaction=True)
    return [*appended, *legs]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"order": "desc"}, [6, 5, 4, 3, 2, 1]),
        ({"account_id": "a", "order": "desc"}, [5, 4, 2, 1]),
        ({"event_type": "CHARGE", "currency": "USD"}, [1, 4, 5, 6]),
        ({"event_type": "CHARGE", "account_id": "b"}, [3, 6]),
        ({"external_id": "x3"}, [3]),
        ({"external_id": "x3", "account_id": "a"}, []),
        ({"from": "2026-03-01T12:00:00Z"}, [1, 3, 4, 5, 6]),
        ({"to": "2026-03-01T13:00:00+01:00"}, [2]),
        ({"from": "2026-03-01T14:00:00+03:00", "to": "2026-03-01T12:00:00.000001Z"}, [1, 2, 4]),
        ({"metadata.order_id": "o1"}, [1, 3]),
        ({"metadata.order_id": "o1", "order": "desc", "metadata.plan": PLAN}, [3, 1]),
        ({"metadata.plan": "a"}, []),
        ({"metadata.order_id": "o0", "event_type": "FEE"}, [2]),
    ],
)
@pytest.mark.parametrize("limit", [1, 1000])
async def test_all_filters_hold_together(
    still_query: httpx.AsyncClient,
    rows: Sequence[Row],
    params: dict[str, Any],
    expected: list[int],
    limit: int,
) -> None:
    assert len(rows) == 6
    events = await everything(still_query, EVENTS, limit=limit, **params)
    assert [event["seq"] for event in events] == expected


async def test_a_transactions_legs_are_found_by_its_id(
    still_query: httpx.AsyncClient, rows: Sequence[Row]
) -> None:
    for transaction_id, expected in ((str(rows[-1]["transaction_id"]), [5, 6]), (uuid4(), [])):
        events = await everything(still_query, EVENTS, transaction_id=transaction_id)
        assert [event["seq"] for event in events] == expected


@pytest.mark.usefixtures("rows")
async def test_a_key_that_is_not_declared_is_refused(still_query: httpx.AsyncClient) -> None:
    answer = await still_query.get(
        EVENTS, params={"metadata.colour": "red", "metadata.order_id": "o1", "metadata.a/b": "x"}
    )
    assert answer.status_code == 422
    detail = "is not searchable: declare the key with PUT /v1/searchable-metadata"
    assert answer.json()["errors"] == [
        {"pointer": "/metadata.colour", "detail": f"metadata.colour {detail}"},
        {"pointer": "/metadata.a~1b", "detail": f"metadata.a/b {detail}"},
    ]


@pytest.mark.usefixtures("rows")
async def test_a_cursor_is_good_for_its_metadata_only(still_query: httpx.AsyncClient) -> None:
    page = await still_query.get(EVENTS, params={"metadata.order_id": "o1", "limit": 1})
    cursor = page.json()["next_cursor"]
    for others in ({"metadata.order_id": "o0"}, {"metadata.plan": "o1"}, {}):
        answer = await still_query.get(EVENTS, params={**others, "cursor": cursor})
        assert pointers(answer) == ["/cursor"]


async def test_a_read_token_finds_what_its_accounts_have(
    still_query: httpx.AsyncClient, rows: Sequence[Row]
) -> None:
    token = await read_token(still_query, account_prefix="b")
    filters: list[tuple[dict[str, Any], list[int]]] = [
        ({}, [3, 6]),
        ({"order": "desc"}, [6, 3]),
        ({"account_id": "a"}, []),
        ({"external_id": "x1"}, []),
        ({"event_type": "CHARGE"}, [3, 6]),
        ({"transaction_id": str(rows[-1]["transaction_id"])}, [6]),
        ({"event_type": "CHARGE", "metadata.order_id": "o1"}, [3]),
    ]
    for params, expected in filters:
        page = (await still_query.get(EVENTS, params=params, headers=token)).json()
        assert [event["seq"] for event in page["data"]] == expected
        assert page["next_cursor"] is None


async def test_searchable_metadata_is_set_as_a_whole(
    query: httpx.AsyncClient, tenant: Tenant
) -> None:
    path = "/v1/searchable-metadata"
    await tenant.append(new_event(metadata={"order_id": "o1"}))
    assert (await query.get(path)).json() == {"keys": []}
    for keys, stored in ((["plan", "order_id", "plan"], ["order_id", "plan"]), (["plan"],) * 2):
        answer = await query.put(path, json={"keys": keys})
        assert (answer.status_code, answer.json()) == (200, {"keys": stored})
        assert (await query.get(path)).json() == {"keys": stored}
        found = await query.get(EVENTS, params={"metadata.order_id": "o1"})
        assert found.status_code == (200 if "order_id" in stored else 422)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/keys"),
        ({"keys": None}, "/keys"),
        ({"keys": ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"]}, "/keys"),
        ({"keys": [""]}, "/keys/0"),
        ({"keys": ["a", "b" * 41]}, "/keys/1"),
        ({"keys": ["a\x00"]}, "/keys/0"),
        ({"keys": [1]}, "/keys/0"),
        ({"keys": [], "more": 1}, "/more"),
    ],
)
async def test_keys_that_break_a_rule_are_refused(
    still_query: httpx.AsyncClient, body: dict[str, Any], pointer: str
) -> None:
    answer = await still_query.put("/v1/searchable-metadata", json=body)
    assert answer.status_code == 422
    assert pointers(answer) == [pointer]


async def test_only_who_may_append_may_declare(
    query: httpx.AsyncClient, tenant: Tenant, landlord: Landlord
) -> None:
    path = "/v1/searchable-metadata"
    token = await read_token(query)
    reading = bearer(await landlord.key(tenant, Scope.READ))
    for headers in (token, reading):
        assert (await query.put(path, json={"keys": ["a"]}, headers=headers)).status_code == 403
        assert (await query.get(path, headers=headers)).json() == {"keys": []}
    appending = bearer(await landlord.key(tenant, Scope.INGEST))
    assert (await query.put(path, json={"keys": ["a"]}, headers=appending)).status_code == 200
    assert (await query.get(path, headers=appending)).status_code == 403
