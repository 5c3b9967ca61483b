"""A ledger restored from a file as a tenant who leaves does it, with Postgres's own programs."""

import asyncio
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit


async def psql(url: str, file: Path) -> None:
    """Run an SQL file, to its end or its first error."""
    status, said = await run(
        url, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={file}"
    )
    assert status == 0, said


async def pg_restore(url: str, file: Path) -> None:
    """Restore a file of the custom format."""
    database = urlsplit(url).path[1:]
    status, said = await run(
        url, "pg_restore", "--no-owner", "--exit-on-error", f"--dbname={database}", str(file)
    )
    assert status == 0, said


async def run(url: str, program: str, *arguments: str) -> tuple[int, str]:
    """Run a program of Postgres's on a database, and give its status and what it said."""
    parts = urlsplit(url)
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        env={
            "PATH": os.environ["PATH"],
            "PGHOST": parts.hostname or "",
            "PGPORT": str(parts.port),
            "PGUSER": parts.username or "",
            "PGPASSWORD": unquote(parts.password or ""),
            "PGDATABASE": parts.path[1:],
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()
