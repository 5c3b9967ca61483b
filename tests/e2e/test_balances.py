"""Balances: right in the end, right at once where asked for, and listed in order."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from support.clients import Document, Freehold, Tenant, event_body, found, pointers, problem


async def test_balances_become_right_for_each_currency(tenant: Tenant) -> None:
    events = [
        await tenant.append(account_id="cus_1", amount_minor=2000),
        await tenant.append(account_id="cus_1", amount_minor=-500),
        await tenant.append(account_id="cus_1", amount_minor=7, currency="JPY"),
        await tenant.append(account_id="cus_2", amount_minor=1),
    ]
    await tenant.caught_up()
    document = found(await tenant.get("/accounts/cus_1/balances"))
    assert set(document) == {"account_id", "balances"}
    assert document["account_id"] == "cus_1"
    yen, dollars = document["balances"]
    updated = yen.pop("last_updated_time"), dollars.pop("last_updated_time")
    assert yen == {
        "currency": "JPY",
        "current_balance_minor": 7,
        "held_minor": 0,
        "available_minor": 7,
        "event_count": 1,
        "last_ledger_event_id": events[2]["event_id"],
        "last_seq": 3,
    }
    assert dollars == {
        "currency": "USD",
        "current_balance_minor": 1500,
        "held_minor": 0,
        "available_minor": 1500,
        "event_count": 2,
        "last_ledger_event_id": events[1]["event_id"],
        "last_seq": 2,
    }
    for time in updated:
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z", time)
        age = datetime.now(UTC) - datetime.fromisoformat(time)
        assert abs(age) < timedelta(minutes=5)


async def test_one_currency_is_answered_alone(tenant: Tenant) -> None:
    await tenant.append(amount_minor=5, currency="EUR")
    await tenant.append(amount_minor=6, currency="USD")
    await tenant.caught_up()
    document = found(await tenant.get("/accounts/cus_42/balances/EUR"))
    both = found(await tenant.get("/accounts/cus_42/balances"))["balances"]
    assert document == {"account_id": "cus_42", **both[0]}
    assert document["current_balance_minor"] == 5


async def test_a_strong_read_holds_every_event_acknowledged_before_it(tenant: Tenant) -> None:
    expected = 0
    for amount in range(1, 31):
        event = await tenant.append(amount_minor=amount)
        expected += amount
        document = found(await tenant.get("/accounts/cus_42/balances", consistency="strong"))
        (balance,) = document["balances"]
        assert balance["current_balance_minor"] == expected
        assert balance["event_count"] == amount
        assert balance["last_ledger_event_id"] == event["event_id"]
        assert balance["last_seq"] == event["seq"]
    one = found(await tenant.get("/accounts/cus_42/balances/USD", consistency="strong"))
    assert one["current_balance_minor"] == expected
    await tenant.caught_up()
    projected = found(await tenant.get("/accounts/cus_42/balances"))["balances"][0]
    strong = found(await tenant.get("/accounts/cus_42/balances", consistency="strong"))
    assert strong["balances"] == [projected]


async def test_many_strong_reads_at_once_are_each_right(tenant: Tenant) -> None:
    async def write_and_read(account_id: str) -> None:
        for amount in range(1, 6):
            await tenant.append(account_id=account_id, amount_minor=amount)
            balances = await tenant.balances(account_id, consistency="strong")
            assert balances == {"USD": amount * (amount + 1) // 2}

    await asyncio.gather(*(write_and_read(f"cus_{n}") for n in range(8)))


async def test_a_balance_may_need_more_than_64_bits(tenant: Tenant) -> None:
    for sign in (1, -1):
        amount = sign * (2**63 - 1)
        account_id = f"large{sign}"
        await tenant.append_batch([event_body(account_id=account_id, amount_minor=amount)] * 3)
        assert await tenant.balances(account_id, consistency="strong") == {"USD": 3 * amount}
    await tenant.caught_up()
    assert await tenant.all_balances() == {
        ("large-1", "USD"): -3 * (2**63 - 1),
        ("large1", "USD"): 3 * (2**63 - 1),
    }
    listed = await tenant.all_of("/balances", min=str(2**64))
    assert [balance["account_id"] for balance in listed] == ["large1"]


async def test_a_balance_of_zero_is_still_a_balance(tenant: Tenant) -> None:
    await tenant.append_batch([event_body(amount_minor=5), event_body(amount_minor=-5)])
    await tenant.caught_up()
    assert await tenant.balances("cus_42") == {"USD": 0}


@pytest.mark.parametrize(
    "path",
    [
        "/accounts/never_seen/balances",
        "/accounts/never_seen/balances/USD",
        "/accounts/cus_42/balances/EUR",
        "/accounts/cus_42/balances/usd",
        "/accounts/cus_42/balances/%00",
        "/accounts/%00/balances",
        "/accounts/%20/balances",
        "/accounts/caf%C3%A9/balances",
        f"/accounts/{'a' * 5000}/balances",
    ],
)
@pytest.mark.parametrize("consistency", ["eventual", "strong"])
async def test_what_was_never_seen_is_not_found(
    reading: Tenant, path: str, consistency: str
) -> None:
    problem(await reading.get(path, consistency=consistency), "not-found")


async def test_an_account_whose_events_are_not_projected_yet_is_found_strongly(
    tenant: Tenant,
) -> None:
    await tenant.append(account_id="brand_new", amount_minor=3)
    assert await tenant.balances("brand_new", consistency="strong") == {"USD": 3}


@pytest.mark.parametrize("path", ["/accounts/cus_42/balances", "/accounts/cus_42/balances/USD"])
async def test_an_unchanged_balance_is_not_sent_again(tenant: Tenant, path: str) -> None:
    await tenant.append(amount_minor=5)
    await tenant.caught_up()
    first = await tenant.get(path)
    tag = first.headers["etag"]
    assert re.fullmatch(r'W/"[^"]+"', tag)
    for condition in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        again = await tenant.get(path, headers={"If-None-Match": condition})
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["etag"] == tag
    assert (await tenant.get(path, headers={"If-None-Match": 'W/"other"'})).json() == first.json()

    await tenant.append(amount_minor=1)
    await tenant.caught_up()
    changed = await tenant.get(path, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


async def test_a_strong_read_never_takes_an_older_balance_for_unchanged(tenant: Tenant) -> None:
    await tenant.append(amount_minor=5)
    await tenant.caught_up()
    tag = (await tenant.get("/accounts/cus_42/balances")).headers["etag"]
    await tenant.append(amount_minor=6)
    answer = await tenant.get(
        "/accounts/cus_42/balances", headers={"If-None-Match": tag}, consistency="strong"
    )
    assert found(answer)["balances"][0]["current_balance_minor"] == 11


@pytest.mark.parametrize(
    ("path", "query", "pointer"),
    [
        ("/accounts/cus_42/balances", {"consistency": "weak"}, "/consistency"),
        ("/accounts/cus_42/balances", {"colour": "red"}, "/colour"),
        ("/accounts/cus_42/balances/USD", {"consistency": ""}, "/consistency"),
        ("/balances", {"limit": "0"}, "/limit"),
        ("/balances", {"limit": "1001"}, "/limit"),
        ("/balances", {"limit": "ten"}, "/limit"),
        ("/balances", {"limit": "1.0"}, "/limit"),
        ("/balances", {"min": "1.5"}, "/min"),
        ("/balances", {"max": "many"}, "/max"),
        ("/balances", {"max": "9" * 50}, "/max"),
        ("/balances", {"min": "2", "max": "1"}, ""),
        ("/balances", {"currency": "usd"}, "/currency"),
        ("/balances", {"account_prefix": "a\u0000"}, "/account_prefix"),
        ("/balances", {"cursor": "nonsense"}, "/cursor"),
        ("/balances", {"cursor": ""}, "/cursor"),
        ("/balances", {"prefix": "a"}, "/prefix"),
        ("/balances", {"limit": ["1", "2"]}, "/limit"),
    ],
)
async def test_a_question_that_breaks_a_rule_is_refused(
    reading: Tenant, path: str, query: Document, pointer: str
) -> None:
    assert pointers(await reading.get(path, **query)) == [pointer]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [("a.1", "EUR"), ("a.1", "USD"), ("a.2", "USD"), ("b_1", "USD"), ("b_2", "JPY")]),
        ({"account_prefix": "a."}, [("a.1", "EUR"), ("a.1", "USD"), ("a.2", "USD")]),
        ({"account_prefix": "a.1"}, [("a.1", "EUR"), ("a.1", "USD")]),
        ({"account_prefix": "b_1"}, [("b_1", "USD")]),
        # Neither of them means anything but itself.
        ({"account_prefix": "a%"}, []),
        ({"account_prefix": "_"}, []),
        ({"currency": "USD"}, [("a.1", "USD"), ("a.2", "USD"), ("b_1", "USD")]),
        ({"currency": "CHF"}, []),
        ({"min": "0"}, [("a.1", "USD"), ("b_1", "USD"), ("b_2", "JPY")]),
        ({"max": "-1"}, [("a.1", "EUR"), ("a.2", "USD")]),
        ({"min": "-20", "max": "-20"}, [("a.2", "USD")]),
        ({"account_prefix": "a", "currency": "USD", "min": "1"}, [("a.1", "USD")]),
    ],
)
async def test_balances_are_listed_by_prefix_currency_and_size(
    reading: Tenant, query: Document, expected: list[tuple[str, str]]
) -> None:
    whole = await reading.all_of("/balances", **query)
    assert [(entry["account_id"], entry["currency"]) for entry in whole] == expected
    for limit in (1, 2):
        assert await reading.all_of("/balances", limit=limit, **query) == whole
    for entry in whole:
        path = f"/accounts/{entry['account_id']}/balances/{entry['currency']}"
        assert found(await reading.get(path)) == entry


async def test_a_cursor_is_good_for_its_own_question_only(reading: Tenant) -> None:
    page = found(await reading.get("/balances", limit=1))
    cursor = page["next_cursor"]
    assert pointers(await reading.get("/balances", cursor=cursor, currency="USD")) == ["/cursor"]
    assert pointers(await reading.get("/events", cursor=cursor)) == ["/cursor"]
    assert pointers(await reading.get("/balances", cursor=f"{cursor}x")) == ["/cursor"]


async def test_an_empty_ledger_has_an_empty_list(tenant: Tenant) -> None:
    assert found(await tenant.get("/balances")) == {"data": [], "next_cursor": None}


async def test_reading_needs_no_idempotency_key_and_changes_nothing(reading: Tenant) -> None:
    before = await reading.lag()
    for _ in range(3):
        await reading.all_of("/balances")
    assert await reading.lag() == before


@pytest.fixture(scope="module")
async def reading(freehold: Freehold) -> Tenant:
    """A few balances that stay as they are."""
    tenant = await freehold.new_tenant()
    await tenant.append_batch(
        [
            event_body(account_id=account_id, amount_minor=amount, currency=currency)
            for account_id, currency, amount in (
                ("b_1", "USD", 5),
                ("a.2", "USD", -20),
                ("a.1", "USD", 10),
                ("b_2", "JPY", 1),
                ("a.1", "EUR", -7),
            )
        ],
        key=uuid4().hex,
    )
    await tenant.caught_up()
    return tenant
