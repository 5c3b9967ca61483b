"""How far a tenant's ledger has been archived, as the catalog says."""

from support.clients import Tenant
from support.machine import Machine
from support.waiting import eventually


async def is_archived(machine: Machine, tenant: Tenant, seq: int) -> None:
    """Wait until a tenant's ledger is archived up to an event."""

    async def reached() -> bool:
        async with machine.catalog() as catalog:
            archived = await catalog.fetchval(
                "SELECT e.archived_seq FROM tenant_epochs AS e INNER JOIN tenants AS t"
                " ON t.tenant_id = e.tenant_id AND t.epoch = e.epoch WHERE e.tenant_id = $1",
                tenant.tenant_id,
            )
        return int(archived or 0) >= seq

    await eventually(reached, f"event {seq} is archived")
