"""The command ``freehold`` as people and scripts run it: a process."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

TIMEOUT_S = 120


class Ended(NamedTuple):
    """How the command ended."""

    code: int
    out: str
    err: str


async def freehold(
    *words: str | Path,
    environment: Mapping[str, str],
    folder: Path | None = None,
    given: bytes | None = None,
) -> Ended:
    """Run the command to its end."""
    process = await started(*words, environment=environment, folder=folder)
    return await ending(process, given)


async def started(
    *words: str | Path, environment: Mapping[str, str], folder: Path | None = None
) -> Process:
    """Start the command, in an environment that has nothing of ours in it but what is given."""
    return await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("freehold"),
        *words,
        stdin=PIPE,
        stdout=PIPE,
        stderr=PIPE,
        cwd=folder or "/",
        env={"PATH": "/usr/bin:/bin", **environment},
    )


async def ending(process: Process, given: bytes | None = None) -> Ended:
    """Wait for the command's end."""
    async with asyncio.timeout(TIMEOUT_S):
        out, err = await process.communicate(given)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())
