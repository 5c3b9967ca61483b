"""What the books said at a point in time, through real services."""

from datetime import datetime, timedelta
from typing import Any

from support.answers import found, pointers, problem
from support.clients import Tenant

NOON = "2026-03-01T12:00:00.000000Z"
LONG_AGO = "1900-01-01T00:00:00Z"


async def amounts(tenant: Tenant, **moment: Any) -> list[int]:
    """One balance: alone, of its account, in the list, and as a total."""
    alone = found(await tenant.get("/accounts/cus_42/balances/USD", **moment))
    (of_account,) = found(await tenant.get("/accounts/cus_42/balances", **moment))["balances"]
    (listed,) = found(await tenant.get("/balances", account_prefix="cus_4", **moment))["data"]
    (total,) = found(await tenant.get("/totals", account_prefix="cus_4", **moment))["data"]
    return [
        *(each["current_balance_minor"] for each in (alone, of_account, listed)),
        total["balance_minor"],
    ]


async def test_the_past_is_told_in_both_times(tenant: Tenant) -> None:
    first = await tenant.append(amount_minor=2000, transaction_time=NOON)
    backdated = await tenant.append(amount_minor=-500, transaction_time="2026-02-28T23:00:00-05:00")
    before = datetime.fromisoformat(NOON) - timedelta(microseconds=1)
    assert await amounts(tenant, as_of="2026-03-01T13:00:00+01:00") == [1500] * 4
    assert await amounts(tenant, as_of=before.isoformat()) == [-500] * 4
    assert await amounts(tenant, known_at=first.recorded_at) == [2000] * 4
    assert await amounts(tenant, known_at=backdated.recorded_at) == [1500] * 4
    assert await amounts(tenant, as_of=before.isoformat(), known_at=first.recorded_at) == [0] * 4
    assert await amounts(tenant, as_of=LONG_AGO) == [0] * 4
    for name in ("as_of", "known_at"):
        assert pointers(await tenant.get("/totals", {name: "2026-03-01"})) == [f"/{name}"]


async def test_another_tenants_past_reads_like_nothing(
    tenant: Tenant, other_tenant: Tenant
) -> None:
    theirs = await other_tenant.append()
    then = {"known_at": theirs.recorded_at}
    answer = await tenant.get("/accounts/cus_42/balances", then)
    unknown = await tenant.get("/accounts/unknown/balances", then)
    problem(answer, "not-found")
    assert answer.content == unknown.content
    for path in ("/balances", "/totals"):
        assert found(await tenant.get(path, then))["data"] == []
