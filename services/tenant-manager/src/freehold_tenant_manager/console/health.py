"""The health of the installation, looked at once for all who watch it."""

import asyncio
import time
from datetime import UTC, datetime
from typing import NamedTuple

from freehold.console.texts import NONE, age, duration, number
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.console.concerns import ARCHIVE_S, LAG_S, Kind
from freehold_tenant_manager.contracts.overview import InstallationOverview, ScheduleOverview
from freehold_tenant_manager.contracts.usage import UsageTotals
from freehold_tenant_manager.overview.survey import Survey
from freehold_tenant_manager.usage.store import list_usage, total_usage

_FRESH_S = 10.0


class Sign(NamedTuple):
    """One figure of the installation, and what it means."""

    name: str
    figure: str
    words: str
    kind: Kind


class Health:
    """Takes the signs, at most once in ten seconds."""

    def __init__(self, catalog: Catalog, survey: Survey) -> None:
        self._catalog = catalog
        self._survey = survey
        self._looking = asyncio.Lock()
        self._signs: list[Sign] = []
        self._taken_at = float("-inf")

    async def signs(self) -> list[Sign]:
        """Give the signs.

        Raises:
            Unavailable: The catalog does not answer.
        """
        async with self._looking:
            if time.monotonic() - self._taken_at > _FRESH_S:
                self._signs = await self._take()
                self._taken_at = time.monotonic()
        return self._signs

    async def _take(self) -> list[Sign]:
        overview = await self._survey.overview(asks_tenants=False)
        async with self._catalog.connection() as connection:
            totals = await total_usage(connection, await list_usage(connection))
        now = datetime.now(UTC)
        return [
            _tenants(overview),
            _lag(totals),
            _schedule("Oldest backup", overview.backups, overview.backups.damaged, now),
            _schedule("Oldest trial", overview.trials, 0, now),
            _reconciliations(overview),
            _broker(overview),
            _archive(totals),
        ]


def _tenants(overview: InstallationOverview) -> Sign:
    counts = overview.tenants
    others = ", ".join(
        f"{number(count)} {status}"
        for status, count in counts
        if count and status not in ("active", "deleted")
    )
    return Sign("Active tenants", number(counts.active), others or "all active", "plain")


def _lag(totals: UsageTotals) -> Sign:
    if totals.sampled_at is None:
        return Sign("Longest lag", NONE, "not sampled yet", "plain")
    words = f"{number(totals.events_behind)} events behind" if totals.events_behind else "in step"
    kind: Kind = "bad" if totals.seconds_behind > LAG_S else "good"
    return Sign("Longest lag", duration(totals.seconds_behind), words, kind)


def _schedule(name: str, schedule: ScheduleOverview, damaged: int, now: datetime) -> Sign:
    figure = age(schedule.oldest_at, now)
    if not schedule.every_s:
        return Sign(name, figure, "no schedule", "warn")
    faults = [
        f"{number(count)} {words}"
        for count, words in ((schedule.tenants_late, "late"), (damaged, "damaged"))
        if count
    ]
    return Sign(name, figure, ", ".join(faults) or "in time", "bad" if faults else "good")


def _reconciliations(overview: InstallationOverview) -> Sign:
    found = overview.reconciliations
    if found.tenants_with_findings_count:
        named = ", ".join(found.tenants_with_findings)
        return Sign("Balances differ", number(found.tenants_with_findings_count), named, "bad")
    return Sign("Balances differ", "0", "all match", "good")


def _broker(overview: InstallationOverview) -> Sign:
    if overview.broker == "unset":
        return Sign("Parked doorbells", NONE, "no broker set", "plain")
    if overview.parked_doorbells is None:
        return Sign("Parked doorbells", NONE, "the broker is silent", "bad")
    parked = overview.parked_doorbells
    words = "see Doorbells" if parked else "none parked"
    return Sign("Parked doorbells", number(parked), words, "bad" if parked else "good")


def _archive(totals: UsageTotals) -> Sign:
    is_late = totals.archive_behind_s > ARCHIVE_S
    words = "behind" if is_late else "in time"
    figure = duration(totals.archive_behind_s)
    return Sign("Archive behind", figure, words, "bad" if is_late else "good")
