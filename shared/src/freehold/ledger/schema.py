"""The ledger's SQL files, in the order they are applied.

Only tenant-manager applies them; the services read the version they were written against.
"""

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable


@dataclass(frozen=True, slots=True)
class Migration:
    """One forward-only SQL file, `<version>_<name>.sql`."""

    version: int
    name: str
    sql: str


def load_migrations(folder: Traversable) -> list[Migration]:
    """Read a folder's migrations in order of version.

    Raises:
        ValueError: The versions are not 1..n without a gap.
    """
    migrations = []
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".sql"):
            version, _, name = file.name.removesuffix(".sql").partition("_")
            migrations.append(Migration(int(version), name, file.read_text(encoding="utf-8")))
    if [migration.version for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise ValueError(f"migrations in {folder} must be numbered 1..n without a gap")
    return migrations


_FOLDER = files("freehold.ledger")

LEDGER_SCHEMA = "ledger"
"""The schema that a `database` home keeps its ledger in."""

LEDGER_MIGRATIONS = load_migrations(_FOLDER / "migrations")
LEDGER_VERSION = LEDGER_MIGRATIONS[-1].version
LEDGER_GRANTS = (_FOLDER / "grants.sql").read_text(encoding="utf-8")

LEDGER_DIGEST = sha256(
    "".join(migration.sql for migration in LEDGER_MIGRATIONS).encode()
).hexdigest()
"""Names exactly this set of migrations: two releases never share a template by mistake."""
