"""Dumps of tenants' databases, made and restored by Postgres' own programs.

A dump is made by the tenant's read-only role and restored by the owner, never by a superuser. Bytes
pass through pipes in flat memory, and passwords through the environment. If a program fails, an
error comes at the end of its output, so a part is never taken for the whole.
"""

import asyncio
import os
import re
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

import structlog

from freehold.contracts.errors import Unavailable
from freehold.database.tls import OPPORTUNISTIC, Tls
from freehold.ledger.client import SESSION_SETTINGS
from freehold.tenants.homes import Home
from freehold_tenant_manager.dumps.client_programs import ClientPrograms, client_environment
from freehold_tenant_manager.dumps.dump_head import guarded
from freehold_tenant_manager.server.server import APPLICATION, Login

_log = structlog.get_logger(__name__)

Form = Literal["sql", "custom"]

_CONNECT_TIMEOUT_S = 10
_LOCK_TIMEOUT_S = 30
_NICENESS = 10
_PIECE_BYTES = 256 * 1024
_END_TIMEOUT_S = 30
_COMPLAINT_LINES_MAX = 20
_COMPLAINT_CHARACTERS_MAX = 500
# With these a dump's text does not depend on settings of server, database or role.
_OPTIONS = " ".join(
    "-c {}={}".format(name, value.replace(" ", r"\ ")) for name, value in SESSION_SETTINGS.items()
)
# The beginning of a program's error messages.
_NOISE = re.compile(r"^pg_(dump|restore): (error: )?")


class DumpError(Exception):
    """A dump or a restoration failed; the message is the program's and names no secret."""


class Dumps:
    """Dumps databases and restores dumps."""

    def __init__(self, *, timeout_s: float, bytes_per_s: int, tls: Tls = OPPORTUNISTIC) -> None:
        """Set the bounds of each dump and restoration, and how its connection is encrypted.

        The bound on the speed protects other work.
        """
        self._timeout_s = timeout_s
        self._bytes_per_s = bytes_per_s
        self._tls = tls
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
            home: The ledger, and a role that may read all of it.
            form: Plain SQL for psql and servers of any version, or a file for pg_restore.
            server_version: The server's major version.
            snapshot: The exported snapshot to dump; None for the current state.
            is_compressed_later: Whether the caller compresses it.

        Yields:
            The dump in pieces; they end with DumpError if the dump is not whole.

        Raises:
            Unavailable: There is no program for this server.
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
        environment = self._environment(Login.at(home))
        async with (
            _ended_within(self._timeout_s, "the dump"),
            _running(program, arguments, environment, reads=False) as process,
        ):
            output = process.output(self._bytes_per_s)
            yield guarded(output) if form == "sql" else output

    async def restore(
        self, login: Login, owner: str, pieces: AsyncIterable[bytes], *, server_version: int
    ) -> None:
        """Restore a dump of the form `custom`, in one transaction.

        An error of the pieces' source is raised here. After a failure the database is useless.

        Args:
            login: An empty database, and a member of its owner's role.
            owner: The role that will own everything.
            pieces: The dump.
            server_version: The server's major version.

        Raises:
            DumpError: It cannot be restored.
            Unavailable: There is no program for this server.
        """
        program = await self._programs.find("pg_restore", server_version)
        arguments = [
            "--format=custom",
            # Without this option it writes a script instead of connecting.
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
            _running(program, arguments, self._environment(login), reads=True) as process,
        ):
            await process.feed(pieces)

    def _environment(self, login: Login) -> dict[str, str]:
        """Give a login as Postgres' programs read it: other users see a command's arguments."""
        return client_environment(
            {
                **self._tls.variables,
                "PGHOST": login.host,
                "PGPORT": str(login.port),
                "PGDATABASE": login.database,
                "PGUSER": login.role,
                "PGPASSWORD": login.password,
                "PGCONNECT_TIMEOUT": str(_CONNECT_TIMEOUT_S),
                "PGAPPNAME": APPLICATION,
                "PGCLIENTENCODING": "UTF8",
                "PGOPTIONS": _OPTIONS,
            }
        )


class _Process:
    """A running client program."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self._name = name
        self._complaint: deque[str] = deque(maxlen=_COMPLAINT_LINES_MAX)
        self._listening = asyncio.create_task(self._listen())

    async def output(self, bytes_per_s: int) -> AsyncIterator[bytes]:
        """Read its output, at most at this speed.

        Raises:
            DumpError: It failed.
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
                # A slow reader does not get a faster dump afterwards.
                begun, read_bytes = time.monotonic(), 0
        await self._ended_well()

    async def feed(self, pieces: AsyncIterable[bytes]) -> None:
        """Write its input, and wait until it ends.

        Raises:
            DumpError: It failed.
        """
        stdin = self._process.stdin
        if stdin is None:
            raise RuntimeError("the program's input is not ours")
        async for piece in pieces:
            stdin.write(piece)
            try:
                await stdin.drain()
            except (BrokenPipeError, ConnectionResetError):
                # It has ended; its own message is the error to raise.
                break
        stdin.close()
        await self._ended_well()

    async def end(self) -> None:
        """Kill it, if it still runs; its session on the server ends with it."""
        with suppress(ProcessLookupError):
            self._process.kill()
        async with asyncio.timeout(_END_TIMEOUT_S):
            # asyncio sees its end only after its output was read.
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
            message = " ".join(_NOISE.sub("", line) for line in self._complaint)
            raise DumpError(f"{self._name}: {message[:_COMPLAINT_CHARACTERS_MAX] or status}")

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
    """Run a program within a context, with a lower priority than ours."""
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
        raise Unavailable(f"{program.name} does not start: {error.strerror}") from None
    process = _Process(started, program.name)
    try:
        yield process
    finally:
        await asyncio.shield(process.end())


def _quoted(name: str) -> str:
    """Quote a name for pg_dump, which takes patterns."""
    return '"' + name.replace('"', '""') + '"'


def _quoted_value(value: str) -> str:
    """Quote a database's name, so that it is not read as a connection string."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"dbname='{escaped}'"
