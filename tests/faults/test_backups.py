"""Backups and their verification cut short by kill -9 are done after all, and leave nothing."""

import signal

from support.clients import Document, Tenant, event_body
from support.machine import Machine
from support.operations import result_of
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
    first, second = (f"/tenants/{tenant.tenant_id}/backups" for tenant in tenants)
    made = result_of(await freehold.end_of(await freehold.begin("POST", first)))["backup_id"]
    asked = [
        await freehold.begin("POST", f"{first}/{made}/verify"),
        await freehold.begin("POST", second),
    ]
    await until_both_are_under_way(machine)
    await machine.replace("tenant-manager", signal.SIGKILL)

    for operation in asked:
        result_of(await freehold.end_of(operation))
    assert [backup["events"] for backup in await backups_of(machine, tenants[1])] == [EVENTS]
    (verified,) = await backups_of(machine, tenants[0])
    assert verified["verified_at"] is not None
    async with machine.catalog() as catalog:
        left = await catalog.fetch(
            "SELECT datname FROM pg_database WHERE starts_with(datname, 'fh_scratch_')"
            " UNION ALL SELECT rolname FROM pg_roles WHERE starts_with(rolname, 'fh_scratch_')"
        )
    assert left == []


async def backups_of(machine: Machine, tenant: Tenant) -> list[Document]:
    answer = await machine.freehold.manage("GET", f"/tenants/{tenant.tenant_id}/backups")
    backups: list[Document] = answer.json()["data"]
    return backups


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
