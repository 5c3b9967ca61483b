"""The ledger's SQL files, in the order they are applied, and the versions that services work with.

Only tenant-manager applies them. A file that adds is applied before its release's services are
deployed, and those of the release before go on working; one that takes away is applied after. So
each tenant is served throughout an upgrade, and never by a service that would fail.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

from freehold.contracts.migrations import Phase

_AFTER = ".after"


@dataclass(frozen=True, slots=True)
class Migration:
    """One forward-only SQL file: `<version>_<name>.sql`, or `<version>_<name>.after.sql`."""

    version: int
    name: str
    sql: str
    phase: Phase = "before"


def load_migrations(folder: Traversable) -> list[Migration]:
    """Read a folder's migrations in order of version.

    Raises:
        ValueError: The versions are not 1..n without a gap.
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
    if [migration.version for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise ValueError(f"migrations in {folder} must be numbered 1..n without a gap")
    return migrations


def migrations_of(migrations: Sequence[Migration], phase: Phase) -> Sequence[Migration]:
    """Choose what a phase applies: all, or all up to the last that comes before the deploy.

    What comes after a deploy and stands before another release's migrations is that earlier
    release's own. The services of today's release know it, so it is applied with those that follow.
    """
    if phase == "after":
        return migrations
    last = max((one.version for one in migrations if one.phase == "before"), default=0)
    return [one for one in migrations if one.version <= last]


def services_version_min(migrations: Sequence[Migration]) -> int:
    """Say which version services must know to work with a ledger that has these migrations.

    Only what is applied after a deploy takes away what earlier services use.
    """
    return max((one.version for one in migrations if one.phase == "after"), default=0)


_FOLDER = files("freehold.ledger")

LEDGER_SCHEMA = "ledger"
"""The schema that a `database` home keeps its ledger in."""

LEDGER_MIGRATIONS = load_migrations(_FOLDER / "migrations")
LEDGER_VERSION = LEDGER_MIGRATIONS[-1].version
"""The version that this release's services know."""

LEDGER_VERSION_MIN = 11
"""The version that this release's services need: raised with the first call that an earlier ledger
does not have. A later ledger is no hindrance unless it says so itself (services_version_min)."""

LEDGER_GRANTS = (_FOLDER / "grants.sql").read_text(encoding="utf-8")

LEDGER_DIGEST = sha256(
    "".join(migration.sql for migration in LEDGER_MIGRATIONS).encode()
).hexdigest()
"""Names exactly this set of migrations: two releases never share a template by mistake."""
