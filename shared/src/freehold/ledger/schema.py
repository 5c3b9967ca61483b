"""The ledger's SQL, and the versions of it that services work with.

`sql/` is the current source. A new ledger is made of it as a whole. `migrations/` changes the
tables and data of ledgers that exist; the functions are then loaded anew from `sql/`.

Only tenant-manager applies the SQL. A migration that adds is applied before its release's services
are deployed, while those of the release before go on working; one that takes away is applied after.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Literal

from typing_extensions import TypeAliasType

_AFTER = ".after"
Phase = TypeAliasType("Phase", Literal["before", "after"])
"""When a migration is applied: before its release's services are deployed, or after."""
_BASELINE = 1


@dataclass(frozen=True, slots=True)
class Migration:
    """One forward-only SQL file: `<version>_<name>.sql`, or `<version>_<name>.after.sql`."""

    version: int
    name: str
    sql: str
    phase: Phase = "before"

    @property
    def checksum(self) -> bytes:
        """The SHA-256 of the SQL."""
        return sha256(self.sql.encode()).digest()


@dataclass(frozen=True)
class SchemaSource:
    """All SQL of a schema. Version 1 is the baseline; each migration makes the next version."""

    tables: str
    functions: str
    """Safe to load again: `CREATE OR REPLACE` throughout."""
    triggers: str = ""
    """What a new schema needs besides, once its functions are there."""
    migrations: tuple[Migration, ...] = ()

    @cached_property
    def baseline(self) -> Migration:
        """What makes a new schema."""
        return Migration(_BASELINE, "baseline", self.tables + self.functions + self.triggers)

    def script(self, migration: Migration) -> str:
        """Give what is run for a migration of an existing schema.

        The functions may need each table of this release, so they are loaded with the last
        migration that comes before a deploy.
        """
        last = self.through("before").version
        return migration.sql + (self.functions if migration.version == last else "")

    @property
    def version(self) -> int:
        """The version of a schema that has all of this."""
        return self.migrations[-1].version if self.migrations else _BASELINE

    @property
    def services_version_min(self) -> int:
        """The version that services must know to work with a schema that has all of this.

        Only a migration that is applied after a deploy takes away what earlier services use.
        """
        return max((one.version for one in self.migrations if one.phase == "after"), default=0)

    @cached_property
    def digest(self) -> str:
        """Names exactly this SQL: no two releases share a template by mistake."""
        return sha256(
            b"".join(one.checksum for one in (self.baseline, *self.migrations))
        ).hexdigest()

    def through(self, phase: Phase) -> "SchemaSource":
        """Leave out the migrations that follow a phase.

        A migration that an earlier release left for after its deploy, and that stands before this
        release's own, belongs to the phase "before": this release's services know it.
        """
        if phase == "after":
            return self
        last = max((one.version for one in self.migrations if one.phase == "before"), default=0)
        return replace(
            self, migrations=tuple(one for one in self.migrations if one.version <= last)
        )


def load_source(
    folder: Traversable, *, tables: Sequence[str], functions: Sequence[str]
) -> SchemaSource:
    """Read a schema's files: those in `sql/`, in a given order, and those in `migrations/`.

    Args:
        folder: Has both folders. `sql/triggers.sql` is loaded last.
        tables: The names of the files with tables and views, without `.sql`.
        functions: The names of the files with functions.

    Raises:
        ValueError: The versions have a gap.
    """

    def read(name: str) -> str:
        return (folder / "sql" / f"{name}.sql").read_text(encoding="utf-8")

    return SchemaSource(
        "".join(map(read, tables)),
        "".join(map(read, functions)),
        read("triggers"),
        tuple(load_migrations(folder / "migrations")),
    )


def load_migrations(folder: Traversable) -> list[Migration]:
    """Read a folder's migrations in order of version.

    Raises:
        ValueError: The versions are not 2..n without a gap.
    """
    migrations = []
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".sql"):
            stem = file.name.removesuffix(".sql")
            version, _, name = stem.removesuffix(_AFTER).partition("_")
            phase: Phase = "after" if stem.endswith(_AFTER) else "before"
            migrations.append(
                Migration(int(version), name, file.read_text(encoding="utf-8"), phase)
            )
    expected = list(range(_BASELINE + 1, _BASELINE + 1 + len(migrations)))
    if [migration.version for migration in migrations] != expected:
        raise ValueError(f"migrations in {folder} must be numbered 2..n without a gap")
    return migrations


_FOLDER = files("freehold.ledger")

LEDGER_SCHEMA = "ledger"
"""The schema that a `database` home keeps its ledger in."""

LEDGER_SOURCE = load_source(
    _FOLDER,
    tables=("tables", "types", "views"),
    # A function that is parsed when it is loaded follows those that it calls.
    functions=(
        "clock",
        "ids",
        "immutability",
        "partitions",
        "proof",
        "keys",
        "claims",
        "limits",
        "refunds",
        "judgement",
        "append",
        "holds",
        "rules",
        "blocks",
        "metadata",
        "activity",
        "projection",
        "reading",
        "points_in_time",
        "balances_over_time",
        "search",
        "statements",
        "stream",
        "archive",
    ),
)

LEDGER_VERSION = LEDGER_SOURCE.version
"""The version that this release's services know."""

LEDGER_VERSION_MIN = 1
"""The version that this release's services need. Raise it with the first call that an earlier
ledger does not have. A later ledger is served unless its `services_version_min` is too high."""

LEDGER_GRANTS = (_FOLDER / "sql" / "grants.sql").read_text(encoding="utf-8")
