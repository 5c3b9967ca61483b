"""What the catalog says of all tenants together."""

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection
from freehold_tenant_manager.contracts.overview import (
    WORST_MAX,
    BackupOverview,
    ReconciliationOverview,
    ScheduleOverview,
    TenantCounts,
)

_QUERIES = load_queries("freehold_tenant_manager.overview", "queries.sql")

# A backup is late when the next one has been missed as well: one alone takes its time.
_LATE_AFTER = 2


async def count_tenants(connection: Connection) -> TenantCounts:
    """Count the tenants by status."""
    rows = await connection.fetch(_QUERIES["count_tenants"])
    return TenantCounts(**{row["status"]: row["tenants"] for row in rows})


async def list_living(connection: Connection) -> list[str]:
    """List the active and suspended tenants, first those who may be appending now."""
    rows = await connection.fetch(_QUERIES["list_living"])
    return [row["tenant_id"] for row in rows]


async def summarise_backups(
    connection: Connection, *, every_s: float, verify_every_s: float
) -> tuple[BackupOverview, ScheduleOverview]:
    """Say how old the tenants' last backups are, and the last trials of them.

    Args:
        connection: To the catalog.
        every_s: Seconds between two backups of a tenant; 0 where none are made.
        verify_every_s: The same for trials.
    """
    (row,) = await connection.fetch(
        _QUERIES["summarise_backups"],
        every_s * _LATE_AFTER or None,
        verify_every_s * _LATE_AFTER or None,
    )
    backups = BackupOverview(
        every_s=every_s,
        oldest_at=row["oldest_backup_at"],
        tenants_without=row["without_backup"],
        tenants_late=row["late_backup"],
        damaged=row["damaged"],
    )
    trials = ScheduleOverview(
        every_s=verify_every_s,
        oldest_at=row["oldest_trial_at"],
        tenants_without=row["without_trial"],
        tenants_late=row["late_trial"],
    )
    return backups, trials


async def summarise_reconciliations(connection: Connection) -> ReconciliationOverview:
    """Say which tenants' state and ledger differed when they were last compared."""
    (row,) = await connection.fetch(_QUERIES["summarise_reconciliations"], WORST_MAX)
    return ReconciliationOverview(**row)
