"""``freehold verify`` and ``freehold operations`` against the running services."""

import json

from support.clients import Tenant
from support.commands import freehold


async def test_a_ledger_is_verified_and_its_head_shown(
    tenant: Tenant, operator: dict[str, str]
) -> None:
    event = await tenant.append()
    await tenant.append(amount_minor=-7)
    await tenant.caught_up()
    ended = await freehold("verify", tenant.tenant_id, "--json", environment=operator)
    assert ended.code == 0, ended.err
    operation = json.loads(ended.out)
    assert (operation["kind"], operation["status"]) == ("verify", "succeeded")
    assert (operation["result"]["ok"], operation["result"]["head"]["seq"]) == (True, 2)
    assert event.hash != operation["result"]["head"]["hash"]
    ended = await freehold("verify", tenant.tenant_id, environment=operator)
    assert ended.code == 0, ended.err
    rows = [row.split() for row in ended.out.splitlines()]
    assert ["whole", "yes"] in rows
    assert ["events", "2"] in rows


async def test_operations_are_listed_shown_and_waited_for(
    tenant: Tenant, operator: dict[str, str]
) -> None:
    begun = await freehold("verify", tenant.tenant_id, "--no-wait", "--json", environment=operator)
    assert begun.code == 0, begun.err
    operation_id = json.loads(begun.out)["operation_id"]
    waited = await freehold("operations", "wait", operation_id, environment=operator)
    assert waited.code == 0, waited.err
    assert "succeeded" in waited.out
    shown = await freehold("operations", "show", operation_id, "--json", environment=operator)
    assert json.loads(shown.out)["progress"] == 1
    words = ("operations", "list", "--tenant", tenant.tenant_id)
    listed = await freehold(*words, "--status", "succeeded", "--json", environment=operator)
    assert [each["operation_id"] for each in json.loads(listed.out)["data"]] == [operation_id]
    table = await freehold(*words, environment=operator)
    assert operation_id in table.out
    none = await freehold(*words, "--status", "failed", environment=operator)
    assert (none.code, none.out) == (0, "")
    wrong = await freehold(*words, "--status", "lost", environment=operator)
    assert wrong.code == 3
