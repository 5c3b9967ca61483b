"""What an operator should look at: of a tenant, in words, and how bad it is."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from freehold.console.texts import duration
from freehold.ledger.schema import LEDGER_VERSION, LEDGER_VERSION_MIN
from freehold_tenant_manager.contracts.usage import TenantUsage

Kind = Literal["good", "plain", "warn", "bad"]
_GRAVITIES: dict[Kind, int] = {"good": 0, "plain": 1, "warn": 2, "bad": 3}
LAG_S = 10.0
"""Seconds behind from which balances count as late."""
ARCHIVE_S = 600.0
"""Seconds behind from which the archive counts as late."""
_LATE_AFTER = 2
"""A backup is late when the next one has been missed as well, as in the overview."""


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing, and how bad it is."""

    words: str
    kind: Kind

    @property
    def gravity(self) -> int:
        """From 0, nothing, to 3, act now."""
        return _GRAVITIES[self.kind]


class Concerns:
    """Judges tenants by the schedules of the installation."""

    def __init__(self, *, backup_every_s: float, trial_every_s: float) -> None:
        """Set seconds between two backups of a tenant, and two trials; 0 where none are made."""
        self._backup_late_s = backup_every_s * _LATE_AFTER
        self._trial_late_s = trial_every_s * _LATE_AFTER

    def of_tenant(self, usage: TenantUsage, now: datetime) -> list[Concern]:
        """Say what concerns a tenant, the worst first; what is well where nothing does."""
        if usage.status not in ("active", "suspended"):
            return [Concern(usage.status, "warn" if usage.status == "deleting" else "plain")]
        found = [
            *_of_status(usage),
            *_of_delays(usage),
            *self._of_backups(usage, now),
            *_of_version(usage),
        ]
        found.sort(key=lambda concern: -concern.gravity)
        return found or [Concern("well", "good")]

    def _of_backups(self, usage: TenantUsage, now: datetime) -> list[Concern]:
        found = []
        if self._backup_late_s:
            if usage.last_backup_at is None:
                found.append(Concern("no backup yet", "plain"))
            elif _is_late(usage.last_backup_at, now, self._backup_late_s):
                found.append(Concern("backup late", "bad"))
        if (
            self._trial_late_s
            and usage.last_trial_at is not None
            and _is_late(usage.last_trial_at, now, self._trial_late_s)
        ):
            found.append(Concern("trial late", "warn"))
        return found


def _of_status(usage: TenantUsage) -> list[Concern]:
    found = []
    if usage.status == "suspended":
        found.append(Concern("suspended", "warn"))
    if usage.sampled_at is None:
        found.append(Concern("not sampled yet", "plain"))
    if usage.errors:
        found.append(Concern("errors", "warn"))
    if usage.doorbells_parked:
        found.append(Concern("doorbells parked", "bad"))
    return found


def _of_delays(usage: TenantUsage) -> list[Concern]:
    found = []
    if (usage.seconds_behind or 0) > LAG_S:
        found.append(Concern(f"{duration(usage.seconds_behind)} behind", "bad"))
    if (usage.archive_behind_s or 0) > ARCHIVE_S:
        found.append(Concern("archive behind", "bad"))
    return found


def _of_version(usage: TenantUsage) -> list[Concern]:
    if usage.schema_version < LEDGER_VERSION_MIN:
        return [Concern("ledger too old: migrate", "bad")]
    if usage.schema_version < LEDGER_VERSION:
        return [Concern("ledger behind", "plain")]
    return []


def _is_late(at: datetime, now: datetime, late_s: float) -> bool:
    return now - at > timedelta(seconds=late_s)
