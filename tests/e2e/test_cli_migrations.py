"""``freehold migrate`` against the running services, whose tenants are of this release already."""

import json

from support.clients import Tenant
from support.commands import freehold
from support.waiting import ALL_TENANTS_S, eventually


async def test_tenants_are_migrated_and_their_versions_shown(
    tenant: Tenant, other_tenant: Tenant, operator: dict[str, str]
) -> None:
    few = f"{tenant.tenant_id},{other_tenant.tenant_id}"
    for options in (["--tenants", few], ["--phase", "after"]):
        ended = await freehold("migrate", *options, "--json", environment=operator)
        assert ended.code == 0, ended.err
        operation = json.loads(ended.out)
        assert (operation["kind"], operation["status"]) == ("migration", "succeeded")

    async def is_current() -> bool:
        shown = await freehold("migrate", "status", "--json", environment=operator)
        assert shown.code == 0, shown.err
        overview = json.loads(shown.out)
        of_tenant = {each["tenant_id"]: each for each in overview["data"]}
        assert of_tenant[tenant.tenant_id]["schema_version"] == overview["ledger_version"]
        return bool(of_tenant[tenant.tenant_id]["status"] == "current")

    async def is_listed_as_current() -> bool:
        table = await freehold("migrate", "status", "--status", "current", environment=operator)
        assert table.code == 0, table.err
        rows = [row for row in table.out.splitlines() if row.startswith(tenant.tenant_id)]
        return [row.split()[2] for row in rows] == ["current"]

    # Another test may have all tenants of this stack wait for a migration once more.
    await eventually(is_current, "the tenant is current", within_s=ALL_TENANTS_S)
    await eventually(is_listed_as_current, "it is listed as current", within_s=ALL_TENANTS_S)


async def test_an_unknown_tenant_cannot_be_migrated(operator: dict[str, str]) -> None:
    ended = await freehold("migrate", "--tenants", "unknown-tenant", environment=operator)
    assert ended.code == 3
    assert "unknown-tenant" in ended.err
    ended = await freehold("migrate", "--phase", "during", environment=operator)
    assert ended.code == 2
