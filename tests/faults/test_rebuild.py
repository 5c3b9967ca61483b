"""Damaged state tables are rebuilt by the operator's command, as its README says."""

import asyncio
import os

from support.clients import Tenant
from support.machine import Machine


async def test_wrong_balances_are_rebuilt(machine: Machine, tenant: Tenant) -> None:
    event = await tenant.append()
    await tenant.caught_up()
    async with machine.ledger(tenant) as ledger:
        await ledger.execute("UPDATE account_balances SET current_balance_minor = 42")
    status, said, complained = await rebuild(machine, tenant.tenant_id)
    assert status == 0, complained
    assert said == f"balances of {tenant.tenant_id} rebuilt, up to seq 1\n"
    await machine.assert_whole(tenant, [event])


async def test_rebuilding_an_unknown_tenant_fails_with_the_reason(machine: Machine) -> None:
    status, said, complained = await rebuild(machine, "unknown-tenant")
    assert (status, said) == (1, "")
    assert "there is no tenant 'unknown-tenant'" in complained


async def rebuild(machine: Machine, tenant_id: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        machine.stack.state / "services" / "projector",
        "rebuild",
        tenant_id,
        env={"PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        said, complained = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode(), complained.decode()
