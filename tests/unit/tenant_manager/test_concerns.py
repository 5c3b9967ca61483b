"""What an operator is told of a tenant, and how the page of tenants is sorted by it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from freehold.ledger.schema import LEDGER_VERSION
from freehold_tenant_manager.console.columns import COLUMNS, Row, ordered
from freehold_tenant_manager.console.concerns import Concerns
from freehold_tenant_manager.contracts.usage import TenantUsage

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
CONCERNS = Concerns(backup_every_s=86_400, trial_every_s=7 * 86_400)


def usage(**changes: Any) -> TenantUsage:
    """Make the usage of a tenant with whom all is well."""
    example: dict[str, Any] = TenantUsage.model_json_schema()["examples"][0]
    well = {
        "schema_version": LEDGER_VERSION,
        "sampled_at": NOW,
        "last_backup_at": NOW - DAY,
        "last_trial_at": NOW - 7 * DAY,
        "errors": 0,
    }
    return TenantUsage(**{**example, **well, **changes})


@pytest.mark.parametrize(
    ("changes", "words", "gravity"),
    [
        ({}, ["well"], 0),
        ({"status": "suspended"}, ["suspended"], 2),
        ({"status": "deleting", "seconds_behind": 99}, ["deleting"], 2),
        ({"seconds_behind": 10.0}, ["well"], 0),
        ({"seconds_behind": 300.0, "errors": 1}, ["5 min behind", "errors"], 3),
        ({"last_backup_at": NOW - 2 * DAY}, ["well"], 0),
        ({"last_backup_at": NOW - 3 * DAY}, ["backup late"], 3),
        ({"last_backup_at": None, "last_trial_at": None}, ["no backup yet"], 1),
        ({"last_trial_at": NOW - 15 * DAY}, ["trial late"], 2),
        ({"archive_behind_s": 601.0}, ["archive behind"], 3),
        ({"doorbells_parked": 1}, ["doorbells parked"], 3),
        ({"schema_version": 0}, ["ledger too old: migrate"], 3),
    ],
)
def test_a_tenant_is_judged_in_words(
    changes: dict[str, Any], words: list[str], gravity: int
) -> None:
    found = CONCERNS.of_tenant(usage(**changes), NOW)
    assert [concern.words for concern in found] == words
    assert max(concern.gravity for concern in found) == gravity


def test_without_a_schedule_no_backup_is_late() -> None:
    never = Concerns(backup_every_s=0, trial_every_s=0)
    old = usage(last_backup_at=NOW - 99 * DAY, last_trial_at=NOW - 99 * DAY)
    assert [concern.words for concern in never.of_tenant(old, NOW)] == ["well"]


def test_what_is_not_known_comes_last_in_either_direction() -> None:
    rows = [
        Row(usage(tenant_id=tenant_id, events=events), [])
        for tenant_id, events in (("t-a", None), ("t-b", 2), ("t-c", 1), ("t-d", 2))
    ]
    for order, expected in (("events", "cbda"), ("-events", "bdca"), ("-tenant", "dcba")):
        assert "".join(row.usage.tenant_id[2:] for row in ordered(rows, order)) == expected
    for column in COLUMNS:
        assert len(ordered(rows, column.name)) == len(rows)
