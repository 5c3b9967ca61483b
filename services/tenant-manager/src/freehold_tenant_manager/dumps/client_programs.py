"""Postgres' own client programs, pg_dump and pg_restore, as this machine has them.

A program reads servers of its own release and earlier. Of those that will do the earliest is taken:
what a later one writes may name settings that an earlier server does not know.
"""

import asyncio
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from freehold.contracts.problems import unavailable

_FOLDERS = (("/usr/lib/postgresql", "*/bin"), ("/usr", "pgsql-*/bin"), ("/usr/local/pgsql", "bin"))
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")
_TIMEOUT_S = 10


class ClientPrograms:
    """Finds the programs, once."""

    def __init__(self) -> None:
        self._found: dict[str, dict[int, Path]] = {}

    async def find(self, name: str, server_version: int) -> Path:
        """Give a program that works with a server.

        Args:
            name: pg_dump or pg_restore.
            server_version: The server's major version.

        Raises:
            Problem: unavailable, where there is none.
        """
        if name not in self._found:
            self._found[name] = await _versions(name)
        versions = self._found[name]
        fitting = [version for version in versions if version >= server_version]
        if not fitting:
            have = ", ".join(map(str, sorted(versions))) or "none"
            # What is missing may be installed while we run.
            del self._found[name]
            raise unavailable(
                f"{name} of PostgreSQL {server_version} or later is needed where tenant-manager"
                f" runs, and there is {have}"
            )
        return versions[min(fitting)]


def client_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Make a program's environment: none of ours but where programs are, and no translations."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", **more}


async def _versions(name: str) -> dict[int, Path]:
    """Find a program in each version there is."""
    versions: dict[int, Path] = {}
    for place in await asyncio.to_thread(_places, name):
        version = await _version(place)
        if version is not None:
            # Packages' own folders come first; on the path there may be a wrapper around those.
            versions.setdefault(version, place)
    return versions


def _places(name: str) -> list[Path]:
    places = [place for root, folders in _FOLDERS for place in Path(root).glob(f"{folders}/{name}")]
    on_path = shutil.which(name)
    return places + ([Path(on_path)] if on_path else [])


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
