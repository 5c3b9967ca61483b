"""``freehold migrate`` against the running services, whose tenants are of this release already."""

import json

from support.clients import Tenant
from support.commands import freehold


async def test_tenants_are_migrated_and_their_versions_shown(
    tenant: Tenant, other_tenant: Tenant, operator: dict[str, str]
) -> None:
    few = f"{tenant.tenant_id},{other_tenant.tenant_id}"
    for options in (["--tenants", few], ["--phase", "after"]):
        ended = await freehold("migrate", *options, "--json", environment=operator)
        assert ended.code == 0, ended.err
        operation = json.loads(ended.out)
        assert (operation["kind"], operation["status"]) == ("migration", "succeeded")
    shown = await freehold("migrate", "status", "--json", environment=operator)
    assert shown.code == 0, shown.err
    overview = json.loads(shown.out)
    of_tenant = {each["tenant_id"]: each for each in overview["data"]}
    assert of_tenant[tenant.tenant_id]["schema_version"] == overview["ledger_version"]
    assert of_tenant[tenant.tenant_id]["status"] == "current"
    table = await freehold("migrate", "status", "--status", "current", environment=operator)
    assert table.code == 0, table.err
    (row,) = [row for row in table.out.splitlines() if row.startswith(tenant.tenant_id)]
    assert row.split()[2] == "current"


async def test_an_unknown_tenant_cannot_be_migrated(operator: dict[str, str]) -> None:
    ended = await freehold("migrate", "--tenants", "unknown-tenant", environment=operator)
    assert ended.code == 3
    assert "unknown-tenant" in ended.err
    ended = await freehold("migrate", "--phase", "during", environment=operator)
    assert ended.code == 2
