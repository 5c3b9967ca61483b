"""Which release runs: the version that all packages share, and the commit that it was made of.

An image has its commit in a file beside this module, which its build writes. A checkout has it in
git's own files, which are read here: git itself refuses another user's checkout.
"""

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

COMMIT_FILE = "commit.txt"
_PACKAGE = Path(__file__).parent
_CHECKOUT = Path(__file__).parents[3]
_SHOWN_DIGITS = 12
_REFERENCE = "ref: "


@dataclass(frozen=True, slots=True)
class Release:
    """A release. `commit` is the first digits of its name, and None where it is not known."""

    version: str
    commit: str | None

    def __str__(self) -> str:
        """Write it for people."""
        return f"{self.version} (commit {self.commit or 'unknown'})"


@cache
def this_release() -> Release:
    """Give the release of this process, as it was when first asked for."""
    return Release(version("freehold"), commit_of(_PACKAGE, _CHECKOUT))


def commit_of(package: Path, checkout: Path) -> str | None:
    """Give the commit that a package was made of, shortened; None where nothing says.

    Args:
        package: The folder of the package, with the file that an image's build writes.
        checkout: Where the repository would be, if the package runs out of one.
    """
    try:
        commit = (package / COMMIT_FILE).read_text().strip()
    except OSError:
        commit = _checked_out(checkout / ".git") or ""
    return commit[:_SHOWN_DIGITS] or None


def _checked_out(git: Path) -> str | None:
    """Read the commit that is checked out, in a repository or in a worktree of one."""
    try:
        if git.is_file():
            git = git.parent / git.read_text().removeprefix("gitdir:").strip()
        common = git / "commondir"
        shared = git / common.read_text().strip() if common.exists() else git
        head = (git / "HEAD").read_text().strip()
        if not head.startswith(_REFERENCE):
            return head
        return _resolved(shared, head.removeprefix(_REFERENCE))
    except OSError:
        return None


def _resolved(git: Path, reference: str) -> str | None:
    """Find the commit that a branch names: in a file of its own, or in that of packed ones."""
    if (git / reference).is_file():
        return (git / reference).read_text().strip()
    lines = (git / "packed-refs").read_text().splitlines()
    return next((line.split()[0] for line in lines if line.endswith(f" {reference}")), None)
