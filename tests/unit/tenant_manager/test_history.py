"""Histories: which backup and which segments an instant is made of, and what none is made of."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from freehold_tenant_manager.archive.history import (
    Base,
    EpochRow,
    Leg,
    plan_for_event,
    plan_for_instant,
    shared_seq,
)
from freehold_tenant_manager.archive.retention import needed_since
from freehold_tenant_manager.archive.segments import BEGINNING

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def epoch(
    number: int, begun: float, *, parent: int | None = None, of: float = 0, seq: int = 0
) -> EpochRow:
    return EpochRow(
        number,
        at(begun),
        parent,
        None if parent is None else at(of),
        seq,
        seq,
        BEGINNING,
        None,
        None,
    )


def backup(number: int, epoch: int, seq: int, made: float) -> Base:
    return Base(UUID(int=number), epoch, seq, bytes(32), at(made), "path", None)


# The first is left at 100 for its own minute 50, the second at 200 for the first's minute 80, and
# the third at 300 for the second's minute 150.
EPOCHS = [
    epoch(1, 0),
    epoch(2, 100, parent=1, of=50, seq=50),
    epoch(3, 200, parent=1, of=80, seq=80),
    epoch(4, 300, parent=2, of=150, seq=100),
]


@pytest.mark.parametrize(
    ("minute", "legs"),
    [
        (0, [(1, None)]),
        (99, [(1, None)]),
        (100, [(1, 50), (2, None)]),
        (250, [(1, 80), (3, None)]),
        (350, [(1, 50), (2, 100), (4, None)]),
    ],
)
def test_an_instant_lies_in_the_epoch_of_its_time(
    minute: float, legs: list[tuple[int, int | None]]
) -> None:
    plan = plan_for_instant(EPOCHS, [], at(minute))
    assert plan is not None
    assert plan.base is None
    assert plan.legs == tuple(
        Leg(number, None if seq is None else (seq, seq)) for number, seq in legs
    )


def test_before_the_first_epoch_there_is_nothing() -> None:
    assert plan_for_instant(EPOCHS, [], at(-1)) is None


@pytest.mark.parametrize(
    ("minute", "expected"),
    [
        # Made later than the instant, or of another branch, or of what the branch does not share.
        (29, None),
        (30, 1),
        (99, 2),
        (100, 1),
        (149, 1),
        (160, 3),
        (250, 2),
        (350, 1),
        (400, 4),
    ],
)
def test_a_restore_begins_with_the_last_backup_of_its_own_history(
    minute: float, expected: int | None
) -> None:
    backups = [
        backup(1, 1, 30, 30),
        backup(2, 1, 75, 75),
        backup(3, 2, 120, 155),
        backup(4, 4, 130, 390),
    ]
    plan = plan_for_instant(EPOCHS, backups, at(minute))
    assert plan is not None
    assert (None if plan.base is None else plan.base.backup_id.int) == expected
    if plan.base is not None:
        assert plan.legs[0].epoch == plan.base.epoch


def test_a_restore_to_before_the_parents_beginning_shares_less() -> None:
    epochs = [
        epoch(1, 0),
        epoch(2, 100, parent=1, of=50, seq=50),
        epoch(3, 200, parent=2, of=20, seq=20),
    ]
    plan = plan_for_instant(epochs, [backup(1, 1, 40, 40), backup(2, 1, 10, 10)], at(250))
    assert plan is not None
    assert plan.legs == (Leg(1, (20, 20)), Leg(2, (20, 20)), Leg(3, None))
    assert plan.base is not None
    assert plan.base.backup_id.int == 2


@pytest.mark.parametrize(
    ("seq", "legs", "base"),
    [
        (1, [(1, 1)], None),
        (50, [(1, 50)], 1),
        (51, [(1, 50), (2, 51)], 2),
        (100, [(1, 50), (2, 100)], 2),
        (101, [(1, 50), (2, 100), (4, 101)], 2),
        (999, [(1, 50), (2, 100), (4, 999)], 4),
    ],
)
def test_an_event_is_the_last_histories_with_the_rules_of_its_time(
    seq: int, legs: list[tuple[int, int]], base: int | None
) -> None:
    backups = [
        backup(1, 1, 30, 30),
        backup(2, 1, 50, 45),
        # Made when the rules were changed after the event, or of another history.
        backup(3, 1, 50, 55),
        backup(5, 3, 90, 250),
        backup(4, 4, 130, 390),
    ]
    plan = plan_for_event(EPOCHS, backups, seq)
    assert (None if plan.base is None else plan.base.backup_id.int) == base
    begun = [
        Leg(epoch, (at, None) if at == seq else (at, at))
        for epoch, at in legs
        if plan.base is None or epoch >= plan.base.epoch
    ]
    assert (plan.epoch, plan.legs) == (4, tuple(begun))


@pytest.mark.parametrize(
    ("minute", "end", "shared"),
    [(350, 130, 130), (150, 100, 100), (299, 90, 50), (99, 75, 50), (20, 20, 20), (250, 40, 40)],
)
def test_two_histories_share_what_came_before_they_parted(
    minute: float, end: int, shared: int
) -> None:
    plan = plan_for_instant(EPOCHS, [], at(minute))
    assert plan is not None
    assert shared_seq(EPOCHS, plan, end) == shared


def test_without_a_backup_everything_is_needed() -> None:
    assert needed_since([epoch(1, 0)], [], at(100)) == {1: 0}
    assert needed_since([epoch(1, 0)], [backup(1, 1, 9, 101)], at(100)) == {1: 0}
    assert needed_since([epoch(1, 0)], [backup(1, 1, 9, 99)], at(100)) == {1: 9}
    assert needed_since([epoch(1, 0)], [], at(-1)) is None


def test_an_earlier_epoch_is_needed_while_a_later_one_is_made_of_it() -> None:
    # The third epoch is the first's up to 80, and began after the horizon.
    assert needed_since(EPOCHS[:3], [backup(1, 2, 60, 120)], at(150)) == {2: 60, 1: 0, 3: 0}
    # With a backup of its own it needs nothing else.
    backups = [backup(1, 3, 90, 210)]
    assert needed_since(EPOCHS[:3], backups, at(220)) == {3: 90}
