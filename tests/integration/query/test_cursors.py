"""Cursors: good for the list, the filters and the tenant that they were made for, as they are."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from freehold.contracts.problems import Problem
from freehold.tenancy.homes import Home
from freehold_query.cursors import CursorScope
from integration.query.tenants import Landlord, Tenant, bearer
from support.builders import new_event

BALANCES = "/v1/balances"
EVENTS = "/v1/events"


@pytest.fixture(scope="module")
async def other_tenant(landlord: Landlord) -> AsyncIterator[Tenant]:
    async with landlord.tenant() as tenant:
        yield tenant


@pytest.fixture(scope="module")
async def cursors(still_query: httpx.AsyncClient, still_tenant: Tenant) -> dict[str, str]:
    """A cursor of each list."""
    await still_tenant.append(*(new_event(f"cus_{n}", n) for n in range(1, 8)))
    await still_tenant.project()
    answers = {
        path: await still_query.get(path, params={"limit": 2}) for path in (BALANCES, EVENTS)
    }
    return {path: answer.json()["next_cursor"] for path, answer in answers.items()}


async def refused(
    query: httpx.AsyncClient,
    path: str,
    params: dict[str, str],
    headers: dict[str, str] | None = None,
) -> None:
    answer = await query.get(path, params=params, headers=headers)
    assert answer.status_code == 422, params
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/cursor"]


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
    for place, character in enumerate(cursor):
        other = "A" if character != "A" else "B"
        await refused(still_query, path, {"cursor": cursor[:place] + other + cursor[place + 1 :]})
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


@pytest.mark.parametrize("path", [BALANCES, EVENTS])
async def test_a_cursor_is_good_for_its_tenant_only(
    still_query: httpx.AsyncClient, cursors: dict[str, str], other_tenant: Tenant, path: str
) -> None:
    await refused(still_query, path, {"cursor": cursors[path]}, bearer(other_tenant.key))


async def test_a_cursor_does_not_outlive_a_restore(
    query: httpx.AsyncClient, tenant: Tenant, landlord: Landlord
) -> None:
    """After it, the events at the same place may be others."""
    await tenant.append(new_event(), new_event())
    page = await query.get(EVENTS, params={"limit": 1})
    await landlord.count_restore(tenant)
    async with asyncio.timeout(2):
        while True:
            answer = await query.get(EVENTS, params={"cursor": page.json()["next_cursor"]})
            if answer.status_code != 200:
                break
    assert answer.json()["errors"][0]["pointer"] == "/cursor"


@pytest.mark.parametrize(
    "place", [[], ["x"], ["x", "USD"], ["a\x00", "USD"], ["a", "U\x00D"], ["a", "USD", "b"], [""]]
)
def test_a_forged_place_is_refused(place: list[str]) -> None:
    """Even one whose checksum is right, as anyone may compute it."""
    home = Home("acme", 1, "localhost", 5432, "database", "ledger", 1, "role", "password")
    scope = CursorScope(home, "a list")
    if place != ["x", "USD"]:
        with pytest.raises(Problem):
            scope.read_balance(scope.write(*place))
    with pytest.raises(Problem):
        scope.read_event(scope.write(*place))
