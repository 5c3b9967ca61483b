"""Tenants' usage in the catalog, as it is shown: the last figures, and samples over time."""

from collections.abc import Iterable
from datetime import datetime

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection
from freehold_tenant_manager.contracts.usage import (
    SLOW_READS_MAX,
    SlowRead,
    TenantUsage,
    UsagePoint,
    UsageTotals,
)

_QUERIES = load_queries("freehold_tenant_manager.usage", "queries.sql")


async def list_usage(connection: Connection) -> list[TenantUsage]:
    """List what every active and suspended tenant uses, in order of their ids."""
    rows = await connection.fetch(_QUERIES["list_usage"], None)
    return [TenantUsage(**row) for row in rows]


async def find_usage(connection: Connection, tenant_id: str) -> TenantUsage | None:
    """Give what a tenant uses; None if no active or suspended tenant has this id."""
    row = await connection.fetchrow(_QUERIES["list_usage"], tenant_id)
    return None if row is None else TenantUsage(**row)


async def usage_series(connection: Connection, tenant_id: str) -> list[UsagePoint]:
    """List the samples of a tenant that are kept, the oldest first."""
    rows = await connection.fetch(_QUERIES["usage_series"], tenant_id)
    return [UsagePoint(**row) for row in rows]


async def list_slow_reads(connection: Connection, tenant_id: str) -> list[SlowRead]:
    """List a tenant's slowest reads of each kind and day, the slowest first."""
    rows = await connection.fetch(_QUERIES["slow_reads"], tenant_id, SLOW_READS_MAX)
    return [SlowRead(rows=row["row_count"], **row) for row in rows]


async def total_usage(connection: Connection, usage: Iterable[TenantUsage]) -> UsageTotals:
    """Add up what all tenants use; the catalog adds when that was sampled, and what is parked."""
    (row,) = await connection.fetch(_QUERIES["last_round"])
    listed = list(usage)

    def total(name: str) -> float:
        return sum(getattr(each, name) or 0 for each in listed)

    def most(name: str) -> float:
        return max((getattr(each, name) or 0.0 for each in listed), default=0.0)

    def oldest(name: str) -> datetime | None:
        return min((at for each in listed if (at := getattr(each, name)) is not None), default=None)

    summed = (
        *("size_bytes", "growth_bytes_per_day", "events", "events_per_s", "accounts"),
        *("events_behind", "connections", "database_s_per_s", "database_s", "services_s"),
        *("requests", "errors", "backups_bytes"),
    )
    return UsageTotals(
        **row,
        tenants=len(listed),
        **{name: total(name) for name in summed},
        seconds_behind=most("seconds_behind"),
        archive_behind_s=most("archive_behind_s"),
        slowest_read_s=most("slowest_read_s") or None,
        oldest_backup_at=oldest("last_backup_at"),
        oldest_trial_at=oldest("last_trial_at"),
    )
