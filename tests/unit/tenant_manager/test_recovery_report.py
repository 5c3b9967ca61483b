"""What the command `recover` says in the end, and whether all of it is back."""

from datetime import UTC, datetime

from freehold_tenant_manager.recover_command import table
from freehold_tenant_manager.recovery.recovery import Recovered, Report

BACK = Recovered(
    "acme",
    "recovered",
    "done",
    epoch=2,
    head_seq=3,
    head_hash="ab" * 32,
    last_recorded_at="2026-03-01T12:00:00.123456+00:00",
    passwords_replaced=["auditor"],
)
LOST = Recovered("beta", "failed", "the tenant's data key does not open")


def _report(*tenants: Recovered, unknown: tuple[str, ...] = ()) -> Report:
    taken_at = datetime(2026, 3, 1, 12, tzinfo=UTC)
    return Report(7, taken_at, tenants, ["half-made"], unknown, 8)


def test_all_is_back_only_where_every_tenant_is() -> None:
    assert _report(BACK).is_whole
    assert not _report(BACK, LOST).is_whole
    assert not _report(BACK, unknown=("stranger",)).is_whole
    assert _report(BACK).as_json()["tenants"][0]["head_seq"] == 3


def test_a_person_reads_what_is_back_and_what_is_not() -> None:
    text = table(_report(BACK, LOST, unknown=("stranger",)))
    lines = text.splitlines()
    assert lines[0].split() == [
        *("tenant", "events", "last", "recorded", "at", "hash", "epoch", "verified")
    ]
    assert lines[1].split() == ["acme", "3", "2026-03-01T12:00:00.123", "ab" * 8, "2", "yes"]
    assert "NOT BROUGHT BACK" in lines[2]
    for sentence in (
        "beta: the tenant's data key does not open",
        "no key opens the passwords of auditor",
        "forgotten: half-made",
        "in the storage, and not in this version of the catalog: stranger",
        "version 7, of 2026-03-01 12:00:00 UTC",
    ):
        assert sentence in text
