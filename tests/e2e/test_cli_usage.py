"""``freehold usage`` against the running services, which sample what tenants use by themselves."""

import json
from typing import Any

from support.clients import Tenant
from support.commands import freehold
from support.waiting import ALL_TENANTS_S, eventually


async def test_what_tenants_use_is_listed_and_shown_over_time(
    tenant: Tenant, operator: dict[str, str]
) -> None:
    await tenant.append()
    await tenant.append(amount_minor=-7)
    await tenant.caught_up()

    async def sampled() -> dict[str, Any] | None:
        ended = await freehold("usage", tenant.tenant_id, "--json", environment=operator)
        assert ended.code == 0, ended.err
        found: dict[str, Any] = json.loads(ended.out)
        usage = found["usage"]
        # Services write what they counted every half a minute.
        return found if usage["events"] == 2 and usage["requests"] >= 2 else None

    found = await eventually(sampled, "usage is sampled", within_s=ALL_TENANTS_S, every_s=1)
    assert found["usage"]["size_bytes"] > 0
    assert found["usage"]["services_s"] > 0
    shown = await freehold("usage", tenant.tenant_id, environment=operator)
    assert shown.code == 0, shown.err
    assert ["events", "2"] in [row.split() for row in shown.out.splitlines()]
    listed = await freehold("usage", "--order", "events", environment=operator)
    assert listed.code == 0, listed.err
    assert any(row.startswith(tenant.tenant_id) for row in listed.out.splitlines())


async def test_an_unknown_tenant_or_order_is_refused(operator: dict[str, str]) -> None:
    ended = await freehold("usage", "unknown-tenant", environment=operator)
    assert ended.code == 3
    ended = await freehold("usage", "--order", "beauty", environment=operator)
    assert ended.code == 3
    assert "order" in ended.err
