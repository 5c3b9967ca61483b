"""Balances, lists and totals at a point in time, over HTTP."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from freehold.contracts.times import rfc_3339
from freehold.ledger.append import Row
from freehold_query.contracts import AccountBalance, AccountBalances, BalancePage, Totals
from integration.query.tenants import Tenant, read_token
from support.answers import pointers
from support.builders import new_event, new_hold

MICROSECOND = timedelta(microseconds=1)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACCOUNT = "/v1/accounts/cus_1/balances"
BALANCE = f"{ACCOUNT}/USD"
BALANCES = "/v1/balances"
TOTALS = "/v1/totals"
LONG_AGO = "1900-01-01T00:00:00Z"


@pytest.fixture(scope="module")
async def events(still_tenant: Tenant) -> list[Row]:
    """Events of five requests: the last is backdated, and none after the second is projected."""
    appended = [
        await still_tenant.append(new_event("cus_1", 100, transaction_time=NOON)),
        await still_tenant.append(new_event("cus_1", 7, currency="JPY", transaction_time=NOON)),
    ]
    await still_tenant.project()
    late = NOON + timedelta(days=1)
    appended += [
        await still_tenant.append(new_event("cus_1", -30, transaction_time=late)),
        await still_tenant.append(new_event("cus_2", 2**62, transaction_time=late)),
        await still_tenant.append(
            new_event("cus_1", 5, transaction_time=NOON - timedelta(days=1)), new_hold("cus_1", 50)
        ),
    ]
    return [event for each in appended for event in each]


async def ask(query: httpx.AsyncClient, path: str, **params: Any) -> Any:
    answer = await query.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_balance_at_a_time_has_the_events_of_then(
    still_query: httpx.AsyncClient, events: list[Row]
) -> None:
    first, *_ = events
    # Before the backdated event was known.
    balance = await ask(
        still_query, BALANCE, as_of=rfc_3339(NOON), known_at=rfc_3339(first["recorded_at"])
    )
    assert balance == {
        "account_id": "cus_1",
        "currency": "USD",
        "exponent": 2,
        "current_balance_minor": 100,
        "event_count": 1,
        "last_ledger_event_id": str(first["event_id"]),
        "last_seq": 1,
        "last_updated_time": rfc_3339(first["recorded_at"]),
    }
    # The same time of business, as the books are now.
    balance = await ask(still_query, BALANCE, as_of=rfc_3339(NOON))
    assert (balance["current_balance_minor"], balance["event_count"]) == (105, 2)
    assert balance["last_seq"] == 5
    balance = await ask(still_query, BALANCE, known_at=rfc_3339(events[2]["recorded_at"]))
    assert (balance["current_balance_minor"], balance["last_seq"]) == (70, 3)


@pytest.mark.parametrize(
    ("as_of", "amount"),
    [
        ("2026-03-01T12:00:00Z", 105),
        ("2026-03-01T12:00:00.000000Z", 105),
        ("2026-03-01T11:59:59.999999Z", 5),
        ("2026-03-01T16:00:00+04:00", 105),
        ("2026-03-01T15:59:59.999999+04:00", 5),
        ("2026-03-01t02:30:00-09:30", 105),
        ("2026-03-02T11:59:59.999999+00:00", 105),
        ("2026-03-02T12:00:00Z", 75),
        ("9998-12-31T23:59:59Z", 75),
        ("2026-02-27T00:00:00Z", 0),
    ],
)
@pytest.mark.usefixtures("events")
async def test_a_time_is_the_same_at_any_offset_and_exact_to_the_microsecond(
    still_query: httpx.AsyncClient, as_of: str, amount: int
) -> None:
    balance = await ask(still_query, BALANCE, as_of=as_of)
    assert balance["current_balance_minor"] == amount


@pytest.mark.parametrize("name", ["as_of", "known_at"])
@pytest.mark.usefixtures("events")
async def test_before_the_first_event_the_answer_is_zero(
    still_query: httpx.AsyncClient, name: str
) -> None:
    answer = await still_query.get(ACCOUNT, params={name: LONG_AGO})
    nothing = {
        "current_balance_minor": 0,
        "event_count": 0,
        "last_ledger_event_id": None,
        "last_seq": 0,
        "last_updated_time": None,
    }
    assert answer.json() == {
        "account_id": "cus_1",
        "balances": [
            {"currency": "JPY", "exponent": 0, **nothing},
            {"currency": "USD", "exponent": 2, **nothing},
        ],
    }
    AccountBalances.model_validate_json(answer.content, strict=True)
    one = await still_query.get(BALANCE, params={name: LONG_AGO})
    AccountBalance.model_validate_json(one.content, strict=True)
    for path in ("/v1/accounts/unknown/balances", f"{ACCOUNT}/EUR", "/v1/accounts/-/balances"):
        assert (await still_query.get(path, params={name: LONG_AGO})).status_code == 404


@pytest.mark.parametrize("path", [ACCOUNT, BALANCE, BALANCES, TOTALS])
@pytest.mark.usefixtures("events")
async def test_an_answer_at_a_time_has_a_tag_and_amounts_as_preferred(
    still_query: httpx.AsyncClient, path: str
) -> None:
    params = {"as_of": rfc_3339(NOON)}
    answer = await still_query.get(path, params=params)
    tag = answer.headers["etag"]
    unchanged = await still_query.get(path, params=params, headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    strings = await still_query.get(path, params=params, headers={"Prefer": "amounts=string"})
    assert strings.headers["preference-applied"] == "amounts=string"
    assert '_minor":"105"' in strings.text


@pytest.mark.usefixtures("events")
async def test_the_list_at_a_time_goes_page_by_page(still_query: httpx.AsyncClient) -> None:
    params: dict[str, Any] = {"as_of": rfc_3339(NOON), "limit": 1}
    found = []
    while True:
        answer = await still_query.get(BALANCES, params=params)
        page = BalancePage.model_validate_json(answer.content, strict=True)
        found += [
            (each.account_id, each.currency, each.current_balance_minor) for each in page.data
        ]
        if page.next_cursor is None:
            break
        params["cursor"] = page.next_cursor
    assert found == [("cus_1", "JPY", 7), ("cus_1", "USD", 105), ("cus_2", "USD", 0)]
    listed = await ask(still_query, BALANCES, known_at="2999-01-01T00:00:00Z", min=2**62)
    assert [each["account_id"] for each in listed["data"]] == ["cus_2"]


@pytest.mark.parametrize("other", [{}, {"as_of": LONG_AGO}, {"known_at": LONG_AGO}])
@pytest.mark.usefixtures("events")
async def test_a_cursor_is_of_one_point_in_time(
    still_query: httpx.AsyncClient, other: dict[str, str]
) -> None:
    page = await ask(still_query, BALANCES, as_of=rfc_3339(NOON), limit=1)
    params = {**other, "cursor": page["next_cursor"]}
    answer = await still_query.get(BALANCES, params=params)
    assert pointers(answer) == ["/cursor"]
    # The same time written in another way is the same.
    await ask(
        still_query, BALANCES, as_of="2026-03-01T13:00:00.0+01:00", cursor=page["next_cursor"]
    )


@pytest.mark.usefixtures("events")
async def test_totals_of_a_branch(still_query: httpx.AsyncClient) -> None:
    answer = await still_query.get(TOTALS, params={"account_prefix": "cus_"})
    # As projected.
    assert answer.json() == {
        "data": [
            {
                "currency": "JPY",
                "exponent": 0,
                "balance_minor": 7,
                "account_count": 1,
                "event_count": 1,
            },
            {
                "currency": "USD",
                "exponent": 2,
                "balance_minor": 100,
                "account_count": 1,
                "event_count": 1,
            },
        ]
    }
    Totals.model_validate_json(answer.content, strict=True)
    later = await ask(still_query, TOTALS, as_of="2026-03-02T12:00:00Z", currency="USD")
    assert [tuple(total.values()) for total in later["data"]] == [("USD", 2, 2**62 + 75, 2, 4)]
    before = await ask(still_query, TOTALS, known_at=LONG_AGO, account_prefix="cus_2")
    assert [tuple(total.values()) for total in before["data"]] == [("USD", 2, 0, 0, 0)]
    assert await ask(still_query, TOTALS, account_prefix="nobody") == {"data": []}


async def test_what_another_tenant_had_reads_like_nothing(
    still_query: httpx.AsyncClient, events: list[Row], other_tenant: Tenant
) -> None:
    then = {"known_at": rfc_3339(events[-1]["recorded_at"])}
    theirs = other_tenant.authorization
    for path in (ACCOUNT, BALANCE):
        answer = await still_query.get(path, params=then, headers=theirs)
        unknown = await still_query.get(
            path.replace("cus_1", "unknown"), params=then, headers=theirs
        )
        assert answer.status_code == 404
        assert answer.content == unknown.content
    for path in (BALANCES, TOTALS):
        answer = await still_query.get(path, params=then, headers=theirs)
        assert answer.json()["data"] == []


async def test_a_read_token_reads_the_past_of_its_accounts_alone(
    still_query: httpx.AsyncClient, events: list[Row]
) -> None:
    token = await read_token(still_query, account_prefix="cus_2")
    then = {"known_at": rfc_3339(events[-1]["recorded_at"])}
    assert (await still_query.get(ACCOUNT, params=then, headers=token)).status_code == 404
    listed = await still_query.get(BALANCES, params=then, headers=token)
    assert [each["account_id"] for each in listed.json()["data"]] == ["cus_2"]
    totals = await still_query.get(TOTALS, params=then, headers=token)
    assert [each["account_count"] for each in totals.json()["data"]] == [1]
    outside = {**then, "account_prefix": "cus_1"}
    for path in (BALANCES, TOTALS):
        answer = await still_query.get(path, params=outside, headers=token)
        assert answer.json()["data"] == []
