"""Postgres' own client programs, pg_dump and pg_restore, as this machine has them.

A program works with servers of its own release and earlier. The earliest that fits is used: a later
one may write settings that the server does not know.
"""

import asyncio
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from freehold.contracts.errors import Unavailable

_FOLDERS = (("/usr/lib/postgresql", "*/bin"), ("/usr", "pgsql-*/bin"), ("/usr/local/pgsql", "bin"))
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
_TIMEOUT_S = 10


class ClientPrograms:
    """Finds the programs, and remembers them."""

    def __init__(self) -> None:
        self._found: dict[str, dict[int, Path]] = {}

    async def find(self, name: str, server_version: int) -> Path:
        """Give the program that fits a server.

        Raises:
            Unavailable: There is none.
        """
        if name not in self._found:
            self._found[name] = await _versions(name)
        versions = self._found[name]
        fitting = [version for version in versions if version >= server_version]
        if not fitting:
            have = ", ".join(map(str, sorted(versions))) or "none"
            # It may be installed while we run.
            del self._found[name]
            raise Unavailable(
                f"{name} of PostgreSQL {server_version} or later is needed where tenant-manager"
                f" runs, and there is {have}"
            )
        return versions[min(fitting)]


def client_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Make a program's environment: of ours only PATH, and messages in English."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", **more}


async def _versions(name: str) -> dict[int, Path]:
    """Find each installed version of a program."""
    versions: dict[int, Path] = {}
    for path in await asyncio.to_thread(_paths, name):
        version = await _version(path)
        if version is not None:
            # The packages' folders come first: on the PATH there may be a wrapper of those.
            versions.setdefault(version, path)
    return versions


def _paths(name: str) -> list[Path]:
    paths = [path for root, folders in _FOLDERS for path in Path(root).glob(f"{folders}/{name}")]
    on_path = shutil.which(name)
    return paths + ([Path(on_path)] if on_path else [])


async def _version(program: Path) -> int | None:
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            "--version",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=client_environment({}),
        )
        async with asyncio.timeout(_TIMEOUT_S):
            text, _ = await process.communicate()
    except (OSError, TimeoutError):
        return None
    match = _VERSION.search(text.decode(errors="replace"))
    return int(match[1]) if match else None
