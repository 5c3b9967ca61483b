"""Cursors: good for the list and the filters that they were made for, as they are."""

import asyncio
from itertools import product

import httpx
import pytest

from freehold.contracts.errors import DomainError
from freehold.http.parameters import PageQuery
from freehold_query.cursors import CursorScope
from integration.query.tenants import Landlord, Tenant
from support.answers import pointers
from support.builders import new_event
from support.homes import new_home
from support.waiting import PATIENCE_S

BALANCES = "/v1/balances"
EVENTS = "/v1/events"


@pytest.fixture(scope="module")
async def cursors(still_query: httpx.AsyncClient, still_tenant: Tenant) -> dict[str, str]:
    """A cursor of each list."""
    await still_tenant.append(*(new_event(f"cus_{n}", n) for n in range(1, 8)))
    await still_tenant.project()
    answers = {
        path: await still_query.get(path, params={"limit": 2}) for path in (BALANCES, EVENTS)
    }
    return {path: answer.json()["next_cursor"] for path, answer in answers.items()}


async def refused(query: httpx.AsyncClient, path: str, params: dict[str, str]) -> None:
    answer = await query.get(path, params=params)
    assert pointers(answer) == ["/cursor"]


@pytest.mark.parametrize("path", [BALANCES, EVENTS])
async def test_the_limit_may_change_between_pages(
    still_query: httpx.AsyncClient, cursors: dict[str, str], path: str
) -> None:
    rest = await still_query.get(path, params={"limit": 1000, "cursor": cursors[path]})
    assert len(rest.json()["data"]) == 5
    assert rest.json()["next_cursor"] is None


@pytest.mark.parametrize("path", [BALANCES, EVENTS])
async def test_a_changed_cursor_is_refused(
    still_query: httpx.AsyncClient, cursors: dict[str, str], path: str
) -> None:
    cursor = cursors[path]
    for number, character in enumerate(cursor):
        other = "A" if character != "A" else "B"
        await refused(still_query, path, {"cursor": cursor[:number] + other + cursor[number + 1 :]})
    for changed in (cursor[:-1], cursor + "A", cursor + "=", cursor + "\n", " " + cursor):
        await refused(still_query, path, {"cursor": changed})


@pytest.mark.parametrize(
    ("path", "filters"),
    [
        (BALANCES, {"account_prefix": "c"}),
        (BALANCES, {"currency": "USD"}),
        (BALANCES, {"min": "1"}),
        (BALANCES, {"max": "1"}),
        (EVENTS, {"account_id": "cus_1"}),
        (EVENTS, {"order": "desc"}),
        (EVENTS, {"event_type": "CHARGE"}),
        (EVENTS, {"currency": "USD"}),
        (EVENTS, {"from": "2026-01-01T00:00:00Z"}),
        (EVENTS, {"to": "2126-01-01T00:00:00Z"}),
    ],
)
async def test_a_cursor_is_good_for_its_filters_only(
    still_query: httpx.AsyncClient, cursors: dict[str, str], path: str, filters: dict[str, str]
) -> None:
    await refused(still_query, path, {"cursor": cursors[path], **filters})


async def test_a_cursor_is_good_for_its_list_only(
    still_query: httpx.AsyncClient, cursors: dict[str, str]
) -> None:
    await refused(still_query, BALANCES, {"cursor": cursors[EVENTS]})
    await refused(still_query, EVENTS, {"cursor": cursors[BALANCES]})


async def test_a_cursor_is_invalid_after_a_restore(
    query: httpx.AsyncClient, tenant: Tenant, landlord: Landlord
) -> None:
    """After it, the events at the same place may be others."""
    await tenant.append(new_event(), new_event())
    page = await query.get(EVENTS, params={"limit": 1})
    await landlord.count_restore(tenant)
    async with asyncio.timeout(PATIENCE_S):
        while True:
            answer = await query.get(EVENTS, params={"cursor": page.json()["next_cursor"]})
            if answer.status_code != 200:
                break
    assert answer.json()["errors"][0]["pointer"] == "/cursor"


BEGUN = "2026-03-01T12:00:00Z"
ODD = [[], [""], ["x"], ["a\x00", "USD"], ["a", "U\x00D"], ["a", "USD", "b"]]


@pytest.mark.parametrize(
    ("of", "position"),
    [
        *product(("balance", "event", "activity", "line"), ODD),
        *product(("event", "activity"), [["x", "USD"]]),
        ("line", ["1", BEGUN]),
        ("line", ["1", BEGUN, "1", "1"]),
        ("line", ["0", BEGUN, "1"]),
        ("line", ["1", BEGUN, "-1"]),
        ("line", ["9" * 19, BEGUN, "1"]),
        ("line", ["1", "2026-03-01", "1"]),
        ("line", ["1", "9999-12-31T23:59:59Z", "1"]),
    ],
)
def test_a_forged_position_is_refused(of: str, position: list[str]) -> None:
    """Even one whose checksum is right, as anyone may compute it."""
    scope = CursorScope(new_home(), "a list", PageQuery())
    read = {
        "balance": scope.read_balance,
        "event": scope.read_event,
        "activity": scope.read_activity,
        "line": scope.read_line,
    }[of]
    with pytest.raises(DomainError):
        read(scope.write(*position))
