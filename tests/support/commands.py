"""The command ``freehold`` as people and scripts run it: a process.

Python and what the command imports take 0.3 s of CPU to load, so they are loaded once
(forkserver.py). A test of how Python itself starts or ends runs FREEHOLD instead.
"""

import asyncio
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from support import forkserver
from support.waiting import ALL_TENANTS_S

FREEHOLD = Path(sys.executable).with_name("freehold")
# The longest command migrates all tenants.
TIMEOUT_S = ALL_TENANTS_S


class Ended(NamedTuple):
    """How the command ended."""

    code: int
    out: str
    err: str


class Running:
    """A command that runs, and our ends of its pipes."""

    def __init__(self, pid: int, status: socket.socket, *pipes: int | None) -> None:
        self._pid = pid
        self._status = status
        self._given, self._out, self._err = pipes
        self._code: int | None = None

    @property
    def returncode(self) -> int | None:
        """Its exit code; None while it runs."""
        if self._code is None:
            with suppress(BlockingIOError):
                self._code = int(self._status.recv(16, socket.MSG_DONTWAIT))
        return self._code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self._pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    async def communicate(self, given: bytes = b"") -> Ended:
        """Hand over its input and wait for its end; once."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                _, out, err = await asyncio.gather(
                    asyncio.to_thread(_write, self._given, given),
                    asyncio.to_thread(_read, self._out),
                    asyncio.to_thread(_read, self._err),
                )
                while self.returncode is None:  # noqa: ASYNC110 (it closed its pipes: a moment)
                    await asyncio.sleep(0.002)
        finally:
            self.kill()
        self._status.close()
        return Ended(self._code or 0, out, err)


async def freehold(
    *words: str | Path,
    environment: Mapping[str, str],
    folder: Path | None = None,
    given: bytes = b"",
    out: int | None = None,
) -> Ended:
    """Run the command to its end; its stdout is read here, or is another file's descriptor."""
    return await started(*words, environment=environment, folder=folder, out=out).communicate(given)


def started(
    *words: str | Path,
    environment: Mapping[str, str],
    folder: Path | None = None,
    out: int | None = None,
) -> Running:
    """Start the command, in an environment that has nothing of ours in it but what is given."""
    command = {
        "words": [str(word) for word in words],
        "environment": {"PATH": "/usr/bin:/bin", **environment},
        "folder": str(folder or "/"),
    }
    status, its_status = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours: list[int | None] = []
    with ExitStack() as its_own:
        its_own.callback(its_status.close)
        its_in, given = os.pipe()
        its_own.callback(os.close, its_in)
        streams = [its_in]
        for its_out in (out, None):
            read = None
            if its_out is None:
                read, its_out = os.pipe()  # noqa: PLW2901 (in place of what was not given)
                its_own.callback(os.close, its_out)
            streams.append(its_out)
            ours.append(read)
        streams.append(its_status.fileno())
        socket.send_fds(_forkserver(), [json.dumps(command).encode()], streams)
    return Running(int(status.recv(16)), status, given, *ours)


@cache
def _forkserver() -> socket.socket:
    channel, its_own = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its_own:
        process = subprocess.Popen(
            [sys.executable, forkserver.__file__],
            stdin=its_own.fileno(),
            stdout=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin"},
        )
    atexit.register(process.wait)
    atexit.register(channel.close)
    return channel


def _write(pipe: int | None, given: bytes) -> None:
    assert pipe is not None
    # It may end without having read it.
    with suppress(BrokenPipeError), os.fdopen(pipe, "wb", buffering=0) as stream:
        while given:
            given = given[stream.write(given) or 0 :]


def _read(pipe: int | None) -> str:
    if pipe is None:
        return ""
    with os.fdopen(pipe, "rb") as stream:
        return stream.read().decode()
