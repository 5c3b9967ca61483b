"""An operation outlives the process that works on it, and the waiting command goes on."""

import asyncio
import json
import signal

from support.clients import Tenant, event_body
from support.commands import freehold, started
from support.machine import Machine
from support.waiting import eventually


async def test_a_verification_continues_after_tenant_manager_was_killed(
    machine: Machine, tenant: Tenant
) -> None:
    await tenant.append_batch([event_body(amount_minor=n) for n in range(1, 101)])
    await tenant.caught_up()
    operator = machine.freehold.addresses.operator
    async with machine.ledger(tenant) as ledger:
        transaction = ledger.transaction()
        await transaction.start()
        # Reading the head of the ledger must wait.
        await ledger.execute("LOCK TABLE ledger_head")
        process = started("verify", tenant.tenant_id, "--json", environment=operator)
        try:

            async def running() -> bool:
                words = ("operations", "list", "--tenant", tenant.tenant_id, "--json")
                listed = await freehold(*words, environment=operator)
                statuses = [each["status"] for each in json.loads(listed.out)["data"]]
                return statuses == ["running"]

            await eventually(running, "the verification runs")
            await machine.replace("tenant-manager", signal.SIGKILL)
            await asyncio.sleep(1)
            assert process.returncode is None
            await transaction.rollback()
            ended = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    assert ended.code == 0, ended.err
    result = json.loads(ended.out)["result"]
    assert (result["ok"], result["head"]["seq"], result["events_checked"]) == (True, 100, 100)
