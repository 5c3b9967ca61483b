"""Node's programs and npm's packages: for the client in TypeScript, and the lint of openapi.json.

They are installed beside a copy of the client under `.local/`, once for each lock file, and the
client is built there, once for each state of its sources. A machine without Node skips the tests
that need it. Where CI=true it is no excuse that the registry does not answer.
"""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

_CHECKOUT = Path(__file__).parents[2]
CLIENTS = _CHECKOUT / "services" / "clients"
_COPY = _CHECKOUT / ".local" / "node"
_CLIENT = "typescript"
_PACKAGE_FILES = ("package.json", "package-lock.json", ".npmrc")
_MADE = {"node_modules", "dist", "build", "generated"}
_NODE_LEAST = (20, 19)
_TIMEOUT_S = 600


def npm_packages() -> Path:
    """Give the folder in whose `node_modules` the packages of the lock file are.

    Skips the test where they cannot be had.
    """
    _require_node()
    with _locked():
        return _installed()


def built_client() -> Path:
    """Give a copy of the client as it is now, built, and with it the programs that use it."""
    _require_node()
    with _locked():
        copy = _installed()
        with _done_once("built", _sources()) as is_done:
            if is_done:
                return copy
            for path in copy.iterdir():
                if path.is_dir() and path.name != "node_modules":
                    shutil.rmtree(path)
            for path in _sources():
                target = _COPY / path.relative_to(CLIENTS)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)
            run(copy, "npm", "run", "build")
            run(copy, "npm", "run", "check")
    return copy


def run(folder: Path, *words: str, environment: Mapping[str, str] | None = None) -> str:
    """Run a program to its end, and give what it wrote.

    Args:
        folder: Where it runs.
        words: The program and its arguments.
        environment: Variables besides those of the tests themselves.

    Raises:
        AssertionError: It failed; the message has its output.
    """
    ended = _ended(folder, *words, environment=environment)
    assert ended.returncode == 0, f"{' '.join(words)}:\n{ended.stdout}"
    return ended.stdout


def _ended(
    folder: Path, *words: str, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )


def _require_node() -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("this machine has no Node with npm")
    version = run(CLIENTS, "node", "--version")
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < _NODE_LEAST:
        least = ".".join(map(str, _NODE_LEAST))
        pytest.skip(f"Node {least} or later is needed, and this machine has {version.strip()}")


@contextmanager
def _locked() -> Iterator[None]:
    """Keep other workers from the copy."""
    _COPY.mkdir(parents=True, exist_ok=True)
    with (_COPY / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _installed() -> Path:
    """Give the copy with the packages of the lock file."""
    copy = _COPY / _CLIENT
    files = [CLIENTS / _CLIENT / name for name in _PACKAGE_FILES]
    with _done_once("installed", files) as is_done:
        if is_done:
            return copy
        copy.mkdir(exist_ok=True)
        for file in files:
            shutil.copy(file, copy)
        ended = _ended(copy, "npm", "ci")
        if ended.returncode != 0:
            excuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
            excuse(f"npm ci failed:\n{ended.stdout}")
    return copy


def _sources() -> list[Path]:
    found = (path for path in (CLIENTS / _CLIENT).rglob("*") if path.is_file())
    return [
        CLIENTS / "openapi.json",
        *sorted(path for path in found if not _MADE.intersection(path.parts)),
    ]


@contextmanager
def _done_once(what: str, files: Iterable[Path]) -> Iterator[bool]:
    """Say whether something was done with these very files, and remember it when it is."""
    digest = sha256()
    for file in files:
        digest.update(repr((str(file), file.read_bytes())).encode())
    remembered = _COPY / what
    is_done = remembered.is_file() and remembered.read_text() == digest.hexdigest()
    if not is_done:
        remembered.unlink(missing_ok=True)
    yield is_done
    remembered.write_text(digest.hexdigest())
