"""Balances: right in the end, and right at once where asked for."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from support.answers import found
from support.clients import Tenant


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
        "exponent": 0,
        "current_balance_minor": 7,
        "held_minor": 0,
        "available_minor": 7,
        "event_count": 1,
        "last_ledger_event_id": events[2].event_id,
        "last_seq": 3,
    }
    assert dollars == {
        "currency": "USD",
        "exponent": 2,
        "current_balance_minor": 1500,
        "held_minor": 0,
        "available_minor": 1500,
        "event_count": 2,
        "last_ledger_event_id": events[1].event_id,
        "last_seq": 2,
    }
    for time in updated:
        assert re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z", time)
        age = datetime.now(UTC) - datetime.fromisoformat(time)
        assert abs(age) < timedelta(minutes=5)


async def test_a_strong_read_holds_every_event_acknowledged_before_it(tenant: Tenant) -> None:
    expected = 0
    for amount in range(1, 31):
        event = await tenant.append(amount_minor=amount)
        expected += amount
        document = found(await tenant.get("/accounts/cus_42/balances", consistency="strong"))
        (balance,) = document["balances"]
        assert balance["current_balance_minor"] == expected
        assert balance["event_count"] == amount
        assert balance["last_ledger_event_id"] == event.event_id
        assert balance["last_seq"] == event.seq
    one = found(await tenant.get("/accounts/cus_42/balances/USD", consistency="strong"))
    assert one["current_balance_minor"] == expected
    await tenant.caught_up()
    projected = found(await tenant.get("/accounts/cus_42/balances"))["balances"][0]
    strong = found(await tenant.get("/accounts/cus_42/balances", consistency="strong"))
    assert strong["balances"] == [projected]


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


async def test_reading_changes_nothing(tenant: Tenant) -> None:
    await tenant.append()
    before = await tenant.caught_up()
    for _ in range(3):
        assert len(await tenant.all_balances()) == 1
    assert await tenant.lag() == before
