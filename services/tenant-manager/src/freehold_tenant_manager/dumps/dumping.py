"""Dumps of tenants' databases, made and restored by Postgres' own programs.

Made as the tenant's own read-only role and restored as their owner, never as a superuser. Bytes
pass through pipes in flat memory, and passwords through the environment. A dump that did not end
well raises when its last byte would be due, so nobody takes a part for the whole.
"""

import asyncio
import os
import re
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import structlog

from freehold.contracts.problems import unavailable
from freehold.tenancy.homes import Home
from freehold_tenant_manager.dumps.client_programs import ClientPrograms, client_environment
from freehold_tenant_manager.dumps.dump_head import taken_by_all

_log = structlog.get_logger(__name__)

Form = Literal["sql", "custom"]

_CONNECT_TIMEOUT_S = 10
_LOCK_TIMEOUT_S = 30
_NICENESS = 10
_PIECE_BYTES = 256 * 1024
_END_TIMEOUT_S = 30
_COMPLAINT_LINES_MAX = 20
_COMPLAINT_CHARACTERS_MAX = 500
APPLICATION = "freehold-tenant-manager"
"""Named to the server, for whoever looks at its sessions."""
# A program's complaint begins with its name, then says where in the file it is.
_NOISE = re.compile(r"^pg_(dump|restore): (error: )?")


class DumpError(Exception):
    """A dump or a restoration failed; the message is the program's own and names no secret."""


@dataclass(frozen=True, slots=True)
class Login:
    """A database and who enters it."""

    host: str
    port: int
    database: str
    role: str
    password: str

    @classmethod
    def at(cls, home: Home) -> "Login":
        """Enter a tenant's home."""
        return cls(home.host, home.port, home.database, home.role, home.password)

    def environment(self) -> dict[str, str]:
        """Say it as Postgres' programs read it: others see the arguments of a command."""
        return client_environment(
            {
                "PGHOST": self.host,
                "PGPORT": str(self.port),
                "PGDATABASE": self.database,
                "PGUSER": self.role,
                "PGPASSWORD": self.password,
                "PGCONNECT_TIMEOUT": str(_CONNECT_TIMEOUT_S),
                "PGAPPNAME": APPLICATION,
            }
        )


class Dumping:
    """Dumps databases and restores dumps."""

    def __init__(self, *, timeout_s: float, bytes_per_s: int) -> None:
        """Set the bounds.

        Args:
            timeout_s: By then a dump or a restoration has ended.
            bytes_per_s: How fast a dump is read at most, so that others are served as before.
        """
        self._timeout_s = timeout_s
        self._bytes_per_s = bytes_per_s
        self._programs = ClientPrograms()

    @asynccontextmanager
    async def dump(
        self,
        home: Home,
        form: Form,
        *,
        server_version: int,
        snapshot: str | None = None,
        is_compressed_later: bool = False,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Dump a ledger's schema, without owners and grants; the program ends with the context.

        Args:
            home: Where the ledger is, and the role that may read all of it.
            form: Plain SQL that psql runs on servers of any version, or what only pg_restore reads.
            server_version: The server's major version.
            snapshot: What is dumped, where it is not what there is now.
            is_compressed_later: Whether somebody else compresses it.

        Yields:
            The dump in pieces; they end with DumpError where the dump is not whole.

        Raises:
            Problem: unavailable, where there is no program for this server.
        """
        program = await self._programs.find("pg_dump", server_version)
        arguments = [
            f"--format={'plain' if form == 'sql' else 'custom'}",
            f"--schema={_quoted(home.schema)}",
            "--strict-names",
            "--no-owner",
            "--no-privileges",
            "--no-password",
            f"--lock-wait-timeout={_LOCK_TIMEOUT_S * 1000}",
            *([f"--snapshot={snapshot}"] if snapshot else []),
            *(["--compress=0"] if is_compressed_later else []),
        ]
        environment = Login.at(home).environment()
        async with (
            _ended_within(self._timeout_s, "the dump"),
            _running(program, arguments, environment, reads=False) as process,
        ):
            output = process.output(self._bytes_per_s)
            yield taken_by_all(output) if form == "sql" else output

    async def restore(
        self, login: Login, owner: str, pieces: AsyncIterable[bytes], *, server_version: int
    ) -> None:
        """Restore a dump of the form `custom`, in one transaction.

        Whatever the pieces' source raises is raised here. After any failure the database is of no
        use, whatever is in it.

        Args:
            login: An empty database, and a member of its owner's role.
            owner: The role that everything shall belong to.
            pieces: The dump.
            server_version: The server's major version.

        Raises:
            DumpError: It cannot be restored.
            Problem: unavailable, where there is no program for this server.
        """
        program = await self._programs.find("pg_restore", server_version)
        arguments = [
            "--format=custom",
            # The database stands in the environment as well, and only this makes it connect.
            f"--dbname={_quoted_value(login.database)}",
            f"--role={owner}",
            "--no-owner",
            "--no-privileges",
            "--no-password",
            "--single-transaction",
            "--exit-on-error",
        ]
        async with (
            _ended_within(self._timeout_s, "the restoration"),
            _running(program, arguments, login.environment(), reads=True) as process,
        ):
            await process.feed(pieces)


class _Process:
    """A client program at work."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self._name = name
        self._complaint: deque[str] = deque(maxlen=_COMPLAINT_LINES_MAX)
        self._listening = asyncio.create_task(self._listen())

    async def output(self, bytes_per_s: int) -> AsyncIterator[bytes]:
        """Read what it writes, no faster than so.

        Raises:
            DumpError: It did not end well.
        """
        if self._process.stdout is None:
            raise RuntimeError("the program's output is not ours")
        begun = time.monotonic()
        read_bytes = 0
        while piece := await self._process.stdout.read(_PIECE_BYTES):
            yield piece
            read_bytes += len(piece)
            ahead_s = begun + read_bytes / bytes_per_s - time.monotonic()
            if ahead_s > 0:
                await asyncio.sleep(ahead_s)
            elif ahead_s < -1:
                # Time that a slow reader took is not made up for in a rush.
                begun, read_bytes = time.monotonic(), 0
        await self._ended_well()

    async def feed(self, pieces: AsyncIterable[bytes]) -> None:
        """Write what it reads, and wait for its end.

        Raises:
            DumpError: It did not end well.
        """
        stdin = self._process.stdin
        if stdin is None:
            raise RuntimeError("the program's input is not ours")
        async for piece in pieces:
            stdin.write(piece)
            try:
                await stdin.drain()
            except (BrokenPipeError, ConnectionResetError):
                # It has ended and says why, and that is the error to tell.
                break
        stdin.close()
        await self._ended_well()

    async def end(self) -> None:
        """End it now, if it has not ended; its server's side ends with it."""
        with suppress(ProcessLookupError):
            self._process.kill()
        async with asyncio.timeout(_END_TIMEOUT_S):
            # Its end is not noticed before what it wrote is taken.
            while self._process.stdout and await self._process.stdout.read(_PIECE_BYTES):
                pass
            await self._process.wait()
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)

    async def _ended_well(self) -> None:
        status = await self._process.wait()
        await self._listening
        if status:
            _log.warning(
                "client program failed",
                program=self._name,
                status=status,
                complaint=list(self._complaint),
            )
            said = " ".join(_NOISE.sub("", line) for line in self._complaint)
            raise DumpError(f"{self._name}: {said[:_COMPLAINT_CHARACTERS_MAX] or status}")

    async def _listen(self) -> None:
        if self._process.stderr is None:
            return
        while line := await self._process.stderr.readline():
            self._complaint.append(line.decode(errors="replace").strip())


@asynccontextmanager
async def _ended_within(timeout_s: float, what: str) -> AsyncIterator[None]:
    timeout = asyncio.timeout(timeout_s)
    try:
        async with timeout:
            yield
    except TimeoutError:
        if not timeout.expired():
            raise
        raise DumpError(f"{what} took longer than {timeout_s:g} s") from None


@asynccontextmanager
async def _running(
    program: Path, arguments: Sequence[str], environment: Mapping[str, str], *, reads: bool
) -> AsyncIterator[_Process]:
    """Run a program for a while, with less of a claim on the processor than we have."""
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    try:
        started = await asyncio.create_subprocess_exec(
            "nice",
            f"--adjustment={_NICENESS}",
            program,
            *arguments,
            stdin=pipe if reads else nothing,
            stdout=nothing if reads else pipe,
            stderr=pipe,
            env=environment,
            cwd=os.sep,
            limit=_PIECE_BYTES,
        )
    except OSError as error:
        raise unavailable(f"{program.name} does not start: {error.strerror}") from None
    process = _Process(started, program.name)
    try:
        yield process
    finally:
        await asyncio.shield(process.end())


def _quoted(name: str) -> str:
    """Quote a name for a pattern of pg_dump, so that it stands for itself alone."""
    return '"' + name.replace('"', '""') + '"'


def _quoted_value(value: str) -> str:
    """Quote a database's name so that it is not taken for a connection string."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"
