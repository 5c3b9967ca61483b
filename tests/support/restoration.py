"""A ledger restored from a file as a tenant who leaves does it, with Postgres's own programs."""

import asyncio
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit


async def psql(url: str, file: Path) -> None:
    """Run an SQL file, to its end or its first error."""
    await _run(url, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--file={file}")


async def pg_restore(url: str, file: Path) -> None:
    """Restore a file of the custom format."""
    database = urlsplit(url).path[1:]
    await _run(
        url, "pg_restore", "--no-owner", "--exit-on-error", f"--dbname={database}", str(file)
    )


async def _run(url: str, program: str, *arguments: str) -> None:
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
    assert process.returncode == 0, output.decode()
