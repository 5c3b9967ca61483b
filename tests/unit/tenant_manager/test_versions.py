"""Which versions of the catalog stay: all for an hour, one of each hour, then one of each day."""

from datetime import UTC, datetime, timedelta

from freehold_tenant_manager.recovery.versions import Version, superfluous

NOW = datetime(2026, 3, 31, 12, 30, tzinfo=UTC)
KEEP = timedelta(days=30)


def _versions(*ages: timedelta) -> list[Version]:
    """Make versions, the newest first."""
    return [Version(len(ages) - place, 1, NOW - age) for place, age in enumerate(sorted(ages))]


def test_there_is_one_of_each_hour_and_each_day_and_all_of_the_last_hour() -> None:
    every_minute = [timedelta(minutes=minute) for minute in range(60 * 24 * 40)]
    versions = _versions(*every_minute)
    kept = set(versions) - set(superfluous(versions, KEEP))
    ages = sorted(NOW - version.written_at for version in kept)
    assert [age for age in ages if age <= timedelta(hours=1)] == every_minute[:61]
    # The last of each hour, and of each day.
    hours = {NOW - age for age in ages if timedelta(hours=1) < age <= timedelta(days=1)}
    assert {instant.minute for instant in hours if instant.hour != 11} == {59}
    assert len(hours) in (23, 24)
    days = [NOW - age for age in ages if age > timedelta(days=1)]
    assert len(days) == len({day.date() for day in days}) in (29, 30, 31)
    assert max(ages) <= KEEP


def test_the_newest_stay_at_any_age() -> None:
    versions = _versions(*(timedelta(days=day) for day in range(100, 120)))
    gone = superfluous([Version(99, 1, NOW), *versions], KEEP)
    assert len(gone) == 11
    assert superfluous([], KEEP) == []


def test_how_old_they_are_is_not_a_matter_of_this_machines_clock() -> None:
    later = [Version(v.number, 1, v.written_at + timedelta(days=400)) for v in _versions(KEEP)]
    assert superfluous(later, KEEP) == []
