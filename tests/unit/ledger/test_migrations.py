"""The SQL files of the ledger and the catalog: complete, in order, named after what they are."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from freehold.ledger.schema import (
    LEDGER_GRANTS,
    LEDGER_SOURCE,
    LEDGER_VERSION,
    LEDGER_VERSION_MIN,
    Migration,
    Phase,
    SchemaSource,
    load_migrations,
    load_source,
)
from freehold_tenant_manager.catalog.source import CATALOG_SOURCE

SQL = "shared/src/freehold/ledger/sql"
CATALOG_SQL = "services/tenant-manager/src/freehold_tenant_manager/catalog/sql"
ROOT = Path(__file__).parents[3]


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"SELECT '{name}';")


def source(folder: Path, *names: str) -> SchemaSource:
    write(folder, *names)
    return SchemaSource("tables;", "functions;", migrations=tuple(load_migrations(folder)))


def test_migrations_are_read_in_order_of_their_versions(tmp_path: Path) -> None:
    write(tmp_path, "0003_b.sql", "0002_a_b.sql", "0004_c.sql", "README.md")
    found = load_migrations(tmp_path)
    assert [(one.version, one.name) for one in found] == [(2, "a_b"), (3, "b"), (4, "c")]
    assert found[1].sql == "SELECT '0003_b.sql';"


def test_a_file_says_whether_it_comes_before_or_after_the_deploy(tmp_path: Path) -> None:
    write(tmp_path, "0002_a.sql", "0003_b.after.sql")
    assert [(one.name, one.phase) for one in load_migrations(tmp_path)] == [
        ("a", "before"),
        ("b", "after"),
    ]


@pytest.mark.parametrize(
    ("names", "phase", "version"),
    [
        ((), "before", 1),
        ((), "after", 1),
        (("0002_a.sql", "0003_b.sql"), "before", 3),
        (("0002_a.sql", "0003_b.sql", "0004_c.after.sql"), "before", 3),
        (("0002_a.sql", "0003_b.sql", "0004_c.after.sql"), "after", 4),
        # What an earlier release left for later goes with what this one puts upon it.
        (("0002_a.sql", "0003_b.after.sql", "0004_c.sql", "0005_d.after.sql"), "before", 4),
        (("0002_a.after.sql",), "before", 1),
    ],
)
def test_a_phase_applies_what_is_its_own_and_all_that_stands_before(
    tmp_path: Path, names: tuple[str, ...], phase: Phase, version: int
) -> None:
    assert source(tmp_path, *names).through(phase).version == version


@pytest.mark.parametrize(
    ("names", "scripts"),
    [
        (("0002_a.sql", "0003_b.sql", "0004_c.after.sql"), ["", "functions;", ""]),
        (("0002_a.sql", "0003_b.after.sql", "0004_c.sql"), ["", "", "functions;"]),
        (("0002_a.after.sql",), [""]),
    ],
)
def test_the_last_migration_before_the_deploy_brings_the_functions(
    tmp_path: Path, names: tuple[str, ...], scripts: list[str]
) -> None:
    found = source(tmp_path, *names)
    assert [found.script(one).removeprefix(one.sql) for one in found.migrations] == scripts


@pytest.mark.parametrize(
    ("names", "version"),
    [
        ((), 0),
        (("0002_a.sql",), 0),
        (("0002_a.sql", "0003_b.after.sql"), 3),
        (("0002_a.sql", "0003_b.after.sql", "0004_c.sql"), 3),
    ],
)
def test_only_what_comes_after_a_deploy_asks_for_newer_services(
    tmp_path: Path, names: tuple[str, ...], version: int
) -> None:
    assert source(tmp_path, *names).services_version_min == version


@pytest.mark.parametrize(
    "names",
    [
        ("0001_a.sql", "0002_b.sql"),
        ("0003_b.sql",),
        ("0002_a.sql", "0004_c.sql"),
        ("0002_a.sql", "0002_b.sql", "0003_c.sql"),
    ],
    ids=["the baseline's", "the first is missing", "a gap", "one version twice"],
)
def test_versions_that_do_not_count_from_two_are_refused(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    write(tmp_path, *names)
    with pytest.raises(ValueError, match="without a gap"):
        load_migrations(tmp_path)


def test_files_are_loaded_in_the_order_that_is_stated(tmp_path: Path) -> None:
    write(tmp_path, "sql/b.sql", "sql/a.sql", "sql/d.sql", "sql/c.sql", "sql/triggers.sql")
    write(tmp_path, "migrations/0002_e.sql")
    found = load_source(tmp_path, tables=("b", "a"), functions=("d", "c"))
    assert re.findall(r"(\w+)\.sql", found.baseline.sql) == ["b", "a", "d", "c", "triggers"]
    assert found.version == 2


def test_the_digest_names_the_whole_source() -> None:
    other = (
        replace(LEDGER_SOURCE, tables=LEDGER_SOURCE.tables + " "),
        replace(LEDGER_SOURCE, functions=LEDGER_SOURCE.functions + " "),
        replace(LEDGER_SOURCE, triggers=LEDGER_SOURCE.triggers + " "),
        replace(LEDGER_SOURCE, migrations=(Migration(2, "a", "SELECT 1"),)),
    )
    assert len({LEDGER_SOURCE.digest, *(one.digest for one in other)}) == 5


def test_the_ledgers_versions_fit_each_other() -> None:
    assert "GRANT EXECUTE" in LEDGER_GRANTS
    assert LEDGER_VERSION_MIN <= LEDGER_VERSION
    assert LEDGER_SOURCE.services_version_min <= LEDGER_VERSION


@pytest.mark.parametrize(
    ("folder", "loaded"), [(SQL, LEDGER_SOURCE), (CATALOG_SQL, CATALOG_SOURCE)]
)
def test_no_file_is_left_out_and_nothing_is_defined_twice(
    folder: str, loaded: SchemaSource
) -> None:
    files = {file.stem: file.read_text("utf-8") for file in (ROOT / folder).glob("*.sql")}
    grants = files.pop("grants")
    assert "GRANT" in grants
    assert sorted(loaded.baseline.sql) == sorted("".join(files.values()))
    defined = re.findall(
        r"^CREATE (?:OR REPLACE )?(?:FUNCTION|VIEW|AGGREGATE|TABLE) (\w+)",
        loaded.baseline.sql,
        re.MULTILINE,
    )
    assert len(defined) == len(set(defined)) > 10
    # What is loaded anew must be replaced, and what is made once must be new.
    assert not re.search(r"^CREATE (FUNCTION|AGGREGATE)", loaded.functions, re.MULTILINE)
    assert not re.search(
        r"^CREATE (OR REPLACE )?(TABLE|VIEW|INDEX|TRIGGER)", loaded.functions, re.MULTILINE
    )
    assert "CREATE OR REPLACE" not in loaded.tables + loaded.triggers


def test_the_ledgers_files_name_no_schema() -> None:
    # The same files serve homes whose schema is called otherwise.
    for sql in (LEDGER_SOURCE.baseline.sql, *(one.sql for one in LEDGER_SOURCE.migrations)):
        assert not re.search(r"\b(ledger|public)\.[a-z_]", sql)
