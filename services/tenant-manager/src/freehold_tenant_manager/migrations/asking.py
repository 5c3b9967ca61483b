"""Asks for a migration of tenants' ledgers."""

from freehold.http.bodies import field_errors
from freehold.ledger.schema import LEDGER_VERSION
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.contracts.migrations import NewMigration
from freehold_tenant_manager.contracts.operations import Operation
from freehold_tenant_manager.migrations.store import find_strangers
from freehold_tenant_manager.operations.kinds import MIGRATION
from freehold_tenant_manager.operations.operations import Operations


async def ask_for_migration(
    catalog: Catalog, operations: Operations, wanted: NewMigration
) -> Operation:
    """Request a migration.

    Raises:
        ValidationFailed: It names tenants that have no ledger.
        Unavailable: The catalog does not answer.
    """
    if wanted.tenants is not None:
        async with catalog.connection() as connection:
            strangers = await find_strangers(connection, wanted.tenants)
        if strangers:
            raise field_errors(
                (f"/tenants/{index}", f"tenants.{index} names no tenant: {tenant_id}")
                for index, tenant_id in enumerate(wanted.tenants)
                if tenant_id in strangers
            )
    # Sorted, so that the same tenants in another order are the same request.
    parameters = {
        "phase": wanted.phase,
        "ledger_version": LEDGER_VERSION,
        "tenants": wanted.tenants and sorted(wanted.tenants),
    }
    return await operations.submit(MIGRATION, None, parameters)
