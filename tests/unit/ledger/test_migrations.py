"""The ledger's SQL files: complete, in order, and named after what they are."""

import re
from pathlib import Path

import pytest

from freehold.contracts.migrations import Phase
from freehold.ledger.schema import (
    LEDGER_DIGEST,
    LEDGER_GRANTS,
    LEDGER_MIGRATIONS,
    LEDGER_VERSION,
    LEDGER_VERSION_MIN,
    load_migrations,
    migrations_of,
    services_version_min,
)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text(f"SELECT '{name}';")


def test_migrations_are_read_in_order_of_their_versions(tmp_path: Path) -> None:
    write(tmp_path, "0002_b.sql", "0001_a_b.sql", "0003_c.sql", "README.md")
    found = load_migrations(tmp_path)
    assert [(migration.version, migration.name) for migration in found] == [
        (1, "a_b"),
        (2, "b"),
        (3, "c"),
    ]
    assert found[1].sql == "SELECT '0002_b.sql';"


def test_a_file_says_whether_it_comes_before_or_after_the_deploy(tmp_path: Path) -> None:
    write(tmp_path, "0001_a.sql", "0002_b.after.sql")
    assert [(one.name, one.phase) for one in load_migrations(tmp_path)] == [
        ("a", "before"),
        ("b", "after"),
    ]


@pytest.mark.parametrize(
    ("names", "phase", "chosen"),
    [
        (("0001_a.sql", "0002_b.sql"), "before", [1, 2]),
        (("0001_a.sql", "0002_b.sql", "0003_c.after.sql"), "before", [1, 2]),
        (("0001_a.sql", "0002_b.sql", "0003_c.after.sql"), "after", [1, 2, 3]),
        # What an earlier release left for later goes with what this one puts upon it.
        (("0001_a.sql", "0002_b.after.sql", "0003_c.sql", "0004_d.after.sql"), "before", [1, 2, 3]),
        (("0001_a.after.sql",), "before", []),
    ],
)
def test_a_phase_applies_what_is_its_own_and_all_that_stands_before(
    tmp_path: Path, names: tuple[str, ...], phase: Phase, chosen: list[int]
) -> None:
    write(tmp_path, *names)
    found = migrations_of(load_migrations(tmp_path), phase)
    assert [migration.version for migration in found] == chosen


def test_only_what_comes_after_a_deploy_asks_for_newer_services(tmp_path: Path) -> None:
    write(tmp_path, "0001_a.sql", "0002_b.after.sql", "0003_c.sql")
    migrations = load_migrations(tmp_path)
    assert [services_version_min(migrations[:count]) for count in range(4)] == [0, 0, 2, 2]


@pytest.mark.parametrize(
    "names",
    [("0002_b.sql",), ("0001_a.sql", "0003_c.sql"), ("0001_a.sql", "0001_b.sql", "0002_c.sql")],
    ids=["the first is missing", "a gap", "one version twice"],
)
def test_versions_that_do_not_count_from_one_are_refused(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    write(tmp_path, *names)
    with pytest.raises(ValueError, match="without a gap"):
        load_migrations(tmp_path)


def test_the_ledgers_own_files_are_found() -> None:
    assert [migration.version for migration in LEDGER_MIGRATIONS] == list(
        range(1, LEDGER_VERSION + 1)
    )
    assert len(LEDGER_DIGEST) == 64
    assert "GRANT EXECUTE" in LEDGER_GRANTS
    assert LEDGER_VERSION_MIN <= LEDGER_VERSION
    assert services_version_min(LEDGER_MIGRATIONS) <= LEDGER_VERSION


def test_the_ledgers_files_name_no_schema() -> None:
    # The same files serve homes whose schema is called otherwise.
    for migration in LEDGER_MIGRATIONS:
        assert not re.search(r"\b(ledger|public)\.[a-z_]", migration.sql)
