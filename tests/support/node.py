"""Node's programs and npm's packages: for the client in TypeScript, and the lint of openapi.json.

They are installed once, beside a copy of the client under `.local/`, and again when its lock file
changes. A machine without them skips the tests that need them. Where CI=true it is no excuse that
the registry does not answer.
"""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

_CHECKOUT = Path(__file__).parents[2]
CLIENTS = _CHECKOUT / "services" / "clients"
_COPY = _CHECKOUT / ".local" / "node"
_CLIENT = "typescript"
_PACKAGE_FILES = ("package.json", "package-lock.json", ".npmrc")
_MADE = ("node_modules", "dist", "build", "generated")
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
    """Give the folder of a copy of the client, as it is now, with its packages and built."""
    _require_node()
    with _locked():
        copy = _installed()
        for path in copy.iterdir():
            if path.is_dir() and path.name != "node_modules":
                shutil.rmtree(path)
        shutil.copytree(
            CLIENTS / _CLIENT, copy, ignore=shutil.ignore_patterns(*_MADE), dirs_exist_ok=True
        )
        shutil.copy(CLIENTS / "openapi.json", _COPY)
        run(copy, "npm", "run", "build")
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
    """Give the copy with its packages; install them unless they are those of the lock file."""
    copy = _COPY / _CLIENT
    packages = "".join((CLIENTS / _CLIENT / name).read_text() for name in _PACKAGE_FILES)
    installed = _COPY / "installed"
    if installed.is_file() and installed.read_text() == packages:
        return copy
    installed.unlink(missing_ok=True)
    copy.mkdir(exist_ok=True)
    for name in _PACKAGE_FILES:
        shutil.copy(CLIENTS / _CLIENT / name, copy)
    ended = _ended(copy, "npm", "ci")
    if ended.returncode != 0:
        excuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        excuse(f"npm ci failed:\n{ended.stdout}")
    installed.write_text(packages)
    return copy
