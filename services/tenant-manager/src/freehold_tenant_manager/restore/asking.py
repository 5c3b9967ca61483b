"""Asks for a restore of a tenant."""

from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.contracts.operations import Operation
from freehold_tenant_manager.contracts.restores import NewRestore
from freehold_tenant_manager.operations.kinds import RESTORE
from freehold_tenant_manager.operations.operations import Operations
from freehold_tenant_manager.restore.plan import plan_asked


async def ask_for_restore(
    catalog: Catalog, operations: Operations, tenant_id: str, wanted: NewRestore
) -> Operation:
    """Request a restore.

    Raises:
        NotFound, ValidationFailed: As `plan_asked`.
        ClocksDisagree: The time is uncertain, and an instant is compared with it.
        Unavailable: The catalog does not answer.
    """
    now = catalog.agreed_now()
    async with catalog.connection() as connection:
        # What is known at once is said at once; the restore plans anew, with what is archived then.
        await plan_asked(connection, tenant_id, wanted, now)
    return await operations.submit(RESTORE, tenant_id, wanted.model_dump(mode="json"))
