"""Backups and their verification cut short by kill -9 are done after all, and leave nothing."""

import signal

from support.clients import event_body
from support.machine import Machine
from support.waiting import eventually

EVENTS = 8_000
"""Enough for a dump to last long enough to die over, at the pace that this stack is given."""


async def test_operations_of_a_killed_tenant_manager_are_completed_by_another(
    machine: Machine,
) -> None:
    tenants = [await machine.new_tenant() for _ in range(2)]
    for tenant in tenants:
        await tenant.append_batch([event_body(account_id=f"cus_{n % 99}") for n in range(EVENTS)])
    freehold = machine.freehold
    first, second = (tenant.tenant_id for tenant in tenants)
    made = await freehold.result_of(await freehold.operator.create_backup(first))
    asked = [
        await freehold.operator.verify_backup(first, made["backup_id"]),
        await freehold.operator.create_backup(second),
    ]
    await until_both_are_under_way(machine)
    await machine.replace("tenant-manager", signal.SIGKILL)

    for operation in asked:
        await freehold.end_of(operation)
    assert [backup.events async for backup in freehold.operator.list_backups(second)] == [EVENTS]
    (verified,) = [backup async for backup in freehold.operator.list_backups(first)]
    assert verified.verified_at is not None
    async with machine.catalog() as catalog:
        left = await catalog.fetch(
            "SELECT datname FROM pg_database WHERE starts_with(datname, 'fh_scratch_')"
            " UNION ALL SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'fh_scratch_')"
        )
    assert left == []


async def until_both_are_under_way(machine: Machine) -> None:
    async with machine.catalog() as catalog:

        async def under_way() -> bool:
            return bool(
                await catalog.fetchval(
                    "SELECT EXISTS (SELECT FROM backups WHERE status = 'making') AND EXISTS"
                    " (SELECT FROM pg_database WHERE starts_with(datname, 'fh_scratch_'))"
                )
            )

        await eventually(under_way, "a backup and a verification are under way", every_s=0.005)
