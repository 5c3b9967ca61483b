"""The swap: one transaction of the catalog moves a tenant to the database that was restored.

Before it, everyone finds the old database; after it, the new one with the next epoch. A recovery
"swaps" a lost database for one with the same name and passwords.
"""

from dataclasses import astuple
from datetime import datetime

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection
from freehold.ledger.schema import LEDGER_SOURCE
from freehold_tenant_manager.archive.history import Plan
from freehold_tenant_manager.restore.rebuild import Rebuilt
from freehold_tenant_manager.tenants.store import TenantRow

_QUERIES = load_queries("freehold_tenant_manager.restore", "queries.sql")


async def swap(
    connection: Connection,
    tenant: TenantRow,
    database: str,
    epoch: int,
    *,
    plan: Plan,
    instant: datetime,
    rebuilt: Rebuilt,
) -> bool:
    """Move a tenant to a rebuilt database, and retire the old one. Needs a transaction.

    Args:
        connection: To the catalog.
        tenant: The tenant, as they were when the restore began.
        database: The rebuilt database.
        epoch: The tenant's next epoch.
        plan: What the ledger was rebuilt from.
        instant: The instant that it stands for.
        rebuilt: The rebuilt ledger.

    Returns:
        False if the tenant has another database or epoch by now; then nothing is changed.
    """
    tenant_id, old_database = tenant.tenant_id, tenant.database_name
    moved = await connection.fetchval(
        _QUERIES["move_tenant"],
        tenant_id,
        old_database,
        tenant.epoch,
        database,
        epoch,
        rebuilt.schema_version,
        LEDGER_SOURCE.services_version_min,
    )
    if not moved:
        return False
    if database != old_database:
        await connection.execute(_QUERIES["retire_database"], tenant_id, old_database, tenant.epoch)
        await connection.execute(_QUERIES["adopt_database"], database)
    end = rebuilt.end
    await connection.execute(
        _QUERIES["begin_epoch"], tenant_id, epoch, plan.epoch, instant, *astuple(end)
    )
    await connection.execute(
        _QUERIES["reset_anchor"], tenant_id, epoch, end.seq, end.hash if end.seq else None
    )
    return True
