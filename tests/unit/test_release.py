"""Which commit a process runs: read out of git's files, or out of the one in an image."""

import subprocess
from pathlib import Path

import pytest

from freehold.release import COMMIT_FILE, commit_of


class Repository:
    """A checkout with one commit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("commit", "--quiet", "--allow-empty", "--message=A first one")

    def git(self, *words: str) -> str:
        who = ("-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", *who, *words], cwd=self.folder, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    @property
    def commit(self) -> str:
        return self.git("rev-parse", "HEAD")[:12]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "checkout")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("checkout", "--quiet", "-b", "feature/other"),
        ("checkout", "--quiet", "--detach"),
        ("pack-refs", "--all"),
    ],
)
def test_a_checkout_names_its_commit(repository: Repository, words: tuple[str, ...]) -> None:
    if words:
        repository.git(*words)
    assert commit_of(repository.folder, repository.folder) == repository.commit


def test_a_worktree_names_its_own(repository: Repository, tmp_path: Path) -> None:
    worktree = tmp_path / "worktree"
    repository.git("worktree", "add", "--quiet", "-b", "other", str(worktree))
    repository.git("pack-refs", "--all")
    assert commit_of(worktree, worktree) == repository.commit


def test_what_an_image_was_made_of_comes_first(repository: Repository, tmp_path: Path) -> None:
    (tmp_path / COMMIT_FILE).write_text(f"{'c' * 40}\n")
    assert commit_of(tmp_path, repository.folder) == "c" * 12


def test_an_unknown_commit_is_none(tmp_path: Path) -> None:
    assert commit_of(tmp_path, tmp_path) is None
    Repository(tmp_path / "a").git("checkout", "--quiet", "--orphan", "without-commits")
    assert commit_of(tmp_path / "a", tmp_path / "a") is None
    (tmp_path / COMMIT_FILE).write_text("\n")
    assert commit_of(tmp_path, tmp_path) is None
