"""The ledger's SQL files: complete, in order, and named after what they are."""

import re
from pathlib import Path

import pytest

from freehold.ledger.schema import (
    LEDGER_DIGEST,
    LEDGER_GRANTS,
    LEDGER_MIGRATIONS,
    LEDGER_VERSION,
    load_migrations,
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


def test_the_ledgers_files_name_no_schema() -> None:
    # The same files serve homes whose schema is called otherwise.
    for migration in LEDGER_MIGRATIONS:
        assert not re.search(r"\b(ledger|public)\.[a-z_]", migration.sql)
