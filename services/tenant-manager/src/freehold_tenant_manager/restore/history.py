"""What a restore is made of: a backup or nothing, and then segments of one epoch after another.

Epochs form a tree. Each shares its parent's history up to where it started, so an instant lies in
the epoch that was the tenant's own at that time, and what it is made of in that one's ancestors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from freehold.contracts.restores import ArchiveState
from freehold_tenant_manager.archive.segments import Position


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One history of a tenant: its parent's up to where it started, and then its own."""

    epoch: int
    started_at: datetime
    parent_epoch: int | None
    start_at: datetime | None
    start_seq: int
    start_change: int
    archived: Position
    archived_at: datetime | None
    fault: str | None

    def shown(self) -> ArchiveState:
        """Give what an operator sees of it."""
        return ArchiveState(
            epoch=self.epoch,
            seq=self.archived.seq,
            archived_at=self.archived_at,
            fault=self.fault,
        )


@dataclass(frozen=True, slots=True)
class Base:
    """A backup that a restore can begin with."""

    backup_id: UUID
    epoch: int
    head_seq: int
    head_hash: bytes
    created_at: datetime
    path: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Leg:
    """A stretch of an epoch: up to an event and a change of rules, or as far as it goes."""

    epoch: int
    through: tuple[int, int] | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A restore: what it begins with, None for an empty ledger, and what is replayed after that."""

    epoch: int
    base: Base | None
    legs: tuple[Leg, ...]


def epoch_at(epochs: Sequence[EpochRow], instant: datetime) -> EpochRow | None:
    """Say which epoch was the tenant's own at an instant; None before the first."""
    begun = [epoch for epoch in epochs if epoch.started_at <= instant]
    return begun[-1] if begun else None


def plan_for_instant(
    epochs: Sequence[EpochRow], backups: Sequence[Base], instant: datetime
) -> Plan | None:
    """Plan to restore an instant; None where it is before everything."""
    epoch = epoch_at(epochs, instant)
    if epoch is None:
        return None
    legs, latest = _legs(epochs, epoch, instant)
    through = {leg.epoch: leg.through for leg in legs}
    fitting = [
        backup
        for backup in backups
        if backup.epoch in through
        and backup.created_at <= latest[backup.epoch]
        and _within(backup, through[backup.epoch])
    ]
    base = max(fitting, key=lambda backup: (backup.head_seq, backup.created_at), default=None)
    if base is not None:
        legs = legs[[leg.epoch for leg in legs].index(base.epoch) :]
    return Plan(epoch.epoch, base, tuple(legs))


def plans_since(
    epochs: Sequence[EpochRow], backups: Sequence[Base], horizon: datetime
) -> list[Plan] | None:
    """Plan what every restore since an instant can begin with; None where that is not known.

    Later instants of an epoch begin with the same backup or a later one, so it is enough to look at
    that instant and at where later epochs begin.
    """
    instants = [horizon, *(epoch.started_at for epoch in epochs if epoch.started_at > horizon)]
    plans = [plan_for_instant(epochs, backups, instant) for instant in instants]
    known = [plan for plan in plans if plan is not None]
    return known if len(known) == len(plans) else None


def _legs(
    epochs: Sequence[EpochRow], epoch: EpochRow, instant: datetime
) -> tuple[list[Leg], dict[int, datetime]]:
    """Give the way from the first epoch to this one, and until when each lasts on it."""
    by_number = {one.epoch: one for one in epochs}
    legs = [Leg(epoch.epoch, None)]
    latest = {epoch.epoch: instant}
    through: tuple[int, int] | None = None
    while epoch.parent_epoch is not None and epoch.parent_epoch in by_number:
        # Who was restored to before where the parent itself began shares less with the grandparent.
        seq, change = through or (epoch.start_seq, epoch.start_change)
        through = (min(seq, epoch.start_seq), min(change, epoch.start_change))
        instant = min(instant, epoch.start_at or instant)
        epoch = by_number[epoch.parent_epoch]
        legs.insert(0, Leg(epoch.epoch, through))
        latest[epoch.epoch] = instant
    return legs, latest


def _within(backup: Base, through: tuple[int, int] | None) -> bool:
    return through is None or backup.head_seq <= through[0]
