"""What the sampler saw last, as metrics of this process. Tenants' series are bounded in number."""

from collections.abc import Callable, Sequence
from datetime import datetime
from math import nan

from prometheus_client import Gauge

from freehold.tenants.catalog import Catalog
from freehold_tenant_manager import metrics
from freehold_tenant_manager.contracts.overview import (
    BackupOverview,
    ScheduleOverview,
    TenantCounts,
)
from freehold_tenant_manager.contracts.usage import TenantUsage, UsageTotals
from freehold_tenant_manager.overview.store import count_tenants, summarise_backups
from freehold_tenant_manager.usage.store import list_usage, total_usage

REST = "_rest"
"""Stands for all tenants who have no series of their own. No tenant's id begins so."""

_Figure = Callable[[TenantUsage], float | None]
_SUMMED: tuple[tuple[Gauge, _Figure], ...] = (
    (metrics.TENANT_EVENTS, lambda usage: usage.events),
    (metrics.TENANT_EVENTS_RATE, lambda usage: usage.events_per_s),
    (metrics.TENANT_SIZE_BYTES, lambda usage: usage.size_bytes),
    (metrics.TENANT_BUSY, lambda usage: usage.database_s_per_s),
    (metrics.TENANT_CPU_SHARE, lambda usage: usage.cpu_share),
    (metrics.TENANT_ERRORS, lambda usage: usage.errors),
)


class UsageGauges:
    """Shows usage to Prometheus."""

    def __init__(
        self,
        catalog: Catalog,
        *,
        tenants_max: int,
        backup_every_s: float,
        backup_verify_every_s: float,
    ) -> None:
        """Set up.

        Args:
            catalog: Has the figures.
            tenants_max: How many tenants have series of their own.
            backup_every_s: Seconds between two backups of a tenant; 0 where none are made.
            backup_verify_every_s: The same for the trials of backups.
        """
        self._catalog = catalog
        self._tenants_max = tenants_max
        self._backup_every_s = backup_every_s
        self._backup_verify_every_s = backup_verify_every_s

    async def show(self) -> bool:
        """Show the last figures; False: there is no more now.

        Raises:
            Unavailable, Overloaded: The catalog does not answer.
        """
        async with self._catalog.connection() as connection:
            tenants = await count_tenants(connection)
            usage = await list_usage(connection)
            totals = await total_usage(connection, usage)
            backups, trials = await summarise_backups(
                connection, every_s=self._backup_every_s, verify_every_s=self._backup_verify_every_s
            )
        _show_totals(tenants, totals)
        _show_backups(backups, trials)
        self._show_tenants(usage)
        return False

    def _show_tenants(self, usage: Sequence[TenantUsage]) -> None:
        active = sorted(usage, key=lambda each: (-each.cpu_share, each.tenant_id))
        for gauge, figure in _SUMMED:
            self._show_figure(gauge, active, figure, of_rest=sum)
        late = sorted(usage, key=lambda each: (-_seconds_behind(each), each.tenant_id))
        self._show_figure(metrics.TENANT_LAG_SECONDS, late, _seconds_behind, of_rest=max)

    def _show_figure(
        self,
        gauge: Gauge,
        ranked: Sequence[TenantUsage],
        figure: _Figure,
        *,
        of_rest: Callable[[list[float]], float],
    ) -> None:
        # Also forgets tenants who are gone.
        gauge.clear()
        for each in ranked[: self._tenants_max]:
            gauge.labels(each.tenant_id).set(figure(each) or 0)
        rest = [figure(each) or 0 for each in ranked[self._tenants_max :]]
        gauge.labels(REST).set(of_rest(rest) if rest else 0)


def _seconds_behind(usage: TenantUsage) -> float:
    return usage.seconds_behind or 0.0


def _show_totals(tenants: TenantCounts, totals: UsageTotals) -> None:
    for status, count in tenants.model_dump().items():
        metrics.TENANTS.labels(status).set(count)
    metrics.USAGE_SAMPLED_AT.set(_timestamp(totals.sampled_at))
    metrics.PROJECTION_LAG_EVENTS.set(totals.events_behind)
    metrics.PROJECTION_LAG_SECONDS.set(totals.seconds_behind)
    metrics.ARCHIVE_AGE_SECONDS.set(totals.archive_behind_s)
    parked = totals.parked_doorbells
    metrics.PARKED_DOORBELLS.set(nan if parked is None else parked)


def _show_backups(backups: BackupOverview, trials: ScheduleOverview) -> None:
    metrics.BACKUP_OLDEST_AT.set(_timestamp(backups.oldest_at))
    metrics.TRIAL_OLDEST_AT.set(_timestamp(trials.oldest_at))
    metrics.BACKUPS_LATE.set(backups.tenants_late)
    metrics.TRIALS_LATE.set(trials.tenants_late)
    metrics.BACKUPS_DAMAGED.set(backups.damaged)


def _timestamp(at: datetime | None) -> float:
    return nan if at is None else at.timestamp()
