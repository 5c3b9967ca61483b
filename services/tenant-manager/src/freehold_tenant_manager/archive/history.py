"""Plans of restores: a backup or an empty ledger, and the segments replayed after it.

Epochs form a tree. Each shares its parent's history up to where it started. An instant belongs to
the epoch that was the tenant's own at that time, and is rebuilt from it and its ancestors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from uuid import UUID

from freehold_tenant_manager.archive.segments import Position
from freehold_tenant_manager.contracts.restores import ArchiveState

_ALWAYS = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One history of a tenant: its parent's up to where it started, then its own."""

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
        """Give what the API shows of it."""
        return ArchiveState(
            epoch=self.epoch, seq=self.archived.seq, archived_at=self.archived_at, fault=self.fault
        )


@dataclass(frozen=True, slots=True)
class Base:
    """A backup that a restore can begin with."""

    backup_id: UUID
    epoch: int
    head_seq: int
    head_hash: bytes
    created_at: datetime
    object_path: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Leg:
    """A stretch of an epoch: up to an event and a change of rules; None for all of it.

    A change of None stands for the last change made before the event.
    """

    epoch: int
    through: tuple[int, int | None] | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A restore: the backup it begins with, None for an empty ledger, and the legs to replay."""

    epoch: int
    base: Base | None
    legs: tuple[Leg, ...]


def plan_for_instant(
    epochs: Sequence[EpochRow], backups: Sequence[Base], instant: datetime
) -> Plan | None:
    """Plan to restore an instant; None if it is before the first epoch."""
    begun = [epoch for epoch in epochs if epoch.started_at <= instant]
    return _plan(backups, begun[-1], *_legs(epochs, begun[-1], instant)) if begun else None


def plan_for_event(epochs: Sequence[EpochRow], backups: Sequence[Base], seq: int) -> Plan:
    """Plan to restore the last epoch's history up to an event."""
    legs, latest = _legs(epochs, epochs[-1], _ALWAYS)
    whole = list(takewhile(lambda leg: leg.through is not None and leg.through[0] < seq, legs))
    cut = Leg(legs[len(whole)].epoch, (seq, None))
    # A backup that ends with the event may have changes of rules made after it.
    earlier = [backup for backup in backups if backup.head_seq < seq]
    return _plan(earlier, epochs[-1], [*whole, cut], latest)


def plans_since(
    epochs: Sequence[EpochRow], backups: Sequence[Base], horizon: datetime
) -> list[Plan] | None:
    """Plan the restores that need the most among all since an instant; None if one has no plan.

    A later instant of an epoch begins with the same backup or a later one. So the instant itself
    and the starts of later epochs suffice.
    """
    instants = [horizon, *(epoch.started_at for epoch in epochs if epoch.started_at > horizon)]
    plans = [plan_for_instant(epochs, backups, instant) for instant in instants]
    known = [plan for plan in plans if plan is not None]
    return known if len(known) == len(plans) else None


def shared_seq(epochs: Sequence[EpochRow], restored: Plan, end_seq: int) -> int:
    """Give the last event that the last epoch shares with a restored ledger ending at `end_seq`."""
    by_number = {one.epoch: one for one in epochs}
    if restored.epoch not in by_number:
        # The backup's epoch was never archived.
        return 0
    restored_legs, live_legs = (
        {leg.epoch: leg.through[0] if leg.through else None for leg in legs}
        for legs, _ in (
            _legs(epochs, epoch, _ALWAYS) for epoch in (by_number[restored.epoch], epochs[-1])
        )
    )
    last = max(restored_legs.keys() & live_legs.keys(), default=None)
    if last is None:
        return 0
    return min(seq for seq in (restored_legs[last], live_legs[last], end_seq) if seq is not None)


def _plan(
    backups: Sequence[Base], epoch: EpochRow, legs: list[Leg], latest: dict[int, datetime]
) -> Plan:
    through = {leg.epoch: leg.through for leg in legs}

    def is_on_the_way(backup: Base) -> bool:
        if backup.epoch not in through or backup.created_at > latest[backup.epoch]:
            return False
        limit = through[backup.epoch]
        return limit is None or backup.head_seq <= limit[0]

    base = max(
        filter(is_on_the_way, backups),
        key=lambda backup: (backup.head_seq, backup.created_at),
        default=None,
    )
    if base is not None:
        legs = legs[[leg.epoch for leg in legs].index(base.epoch) :]
    return Plan(epoch.epoch, base, tuple(legs))


def _legs(
    epochs: Sequence[EpochRow], epoch: EpochRow, instant: datetime
) -> tuple[list[Leg], dict[int, datetime]]:
    """Give the legs from the first epoch to this one, and the latest instant in each."""
    by_number = {one.epoch: one for one in epochs}
    legs = [Leg(epoch.epoch, None)]
    latest = {epoch.epoch: instant}
    through: tuple[int, int] | None = None
    while epoch.parent_epoch is not None and epoch.parent_epoch in by_number:
        # A restore to before the parent's own start shares even less with the grandparent.
        seq, change = through or (epoch.start_seq, epoch.start_change)
        through = (min(seq, epoch.start_seq), min(change, epoch.start_change))
        instant = min(instant, epoch.start_at or instant)
        epoch = by_number[epoch.parent_epoch]
        legs.insert(0, Leg(epoch.epoch, through))
        latest[epoch.epoch] = instant
    return legs, latest
