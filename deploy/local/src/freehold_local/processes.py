"""Processes of a stack: started alone, found again after a crash, and ended.

A process id in a file says nothing after a power cut. What a process carries in its environment
says for certain whose it is, so leftovers are found by that and nothing else is ever signalled.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from freehold_local.errors import StackError
from freehold_local.programs import OWNER_VARIABLE, Program, inherited_environment

POLL_S = 0.1


def processes_of(owner: Path) -> list[int]:
    """The ids of all living processes that belong to the stack in a folder."""
    mark = f"{OWNER_VARIABLE}={owner}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def end_processes(owner: Path, *, timeout_s: float, in_order: bool = True) -> None:
    """End every process of a stack: asked first, killed when the time is up.

    Args:
        owner: The folder of the stack.
        timeout_s: How long they may take to finish what they do.
        in_order: Whether they are asked at all; not where all that they keep goes with them.

    Raises:
        StackError: Some would not even be killed.
    """
    # The supervisor ends the others in order, and would start again what we end before it.
    for group in (_supervisors(processes_of(owner)), processes_of(owner)):
        for pid in group:
            _signal(pid, _polite_signal(pid) if in_order else _curt_signal(pid))
        wait_until_ended(group, timeout_s=timeout_s)
    stubborn = processes_of(owner)
    for pid in stubborn:
        _signal(pid, signal.SIGKILL)
    if not wait_until_ended(stubborn, timeout_s=10):
        raise StackError(f"The processes {stubborn} do not end, not even when killed.")


def wait_until_ended(pids: Iterable[int], *, timeout_s: float) -> bool:
    """Wait for processes to end; whether all of them did in time."""
    deadline = time.monotonic() + timeout_s
    left = list(pids)
    while left := [pid for pid in left if _is_alive(pid)]:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def start_alone(program: Program, log: Path) -> subprocess.Popen[bytes]:
    """Start a program without a supervisor, its output going to the end of a log."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [str(program.script)],
            cwd=program.folder,
            env=inherited_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=None if program.account is None else program.account.uid,
            group=None if program.account is None else program.account.gid,
            extra_groups=None if program.account is None else [],
        )


def stop_alone(program: Program, process: subprocess.Popen[bytes]) -> None:
    """End a program that ``start_alone`` started, within its time."""
    if process.poll() is None:
        process.send_signal(program.stop_signal)
        try:
            process.wait(program.stop_timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for a person to see why something did not start."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return f"(no log at {log})"
    return "\n".join(text.splitlines()[-lines:]) or f"({log} is empty)"


def _supervisors(pids: Iterable[int]) -> list[int]:
    return [pid for pid in pids if b"supervisor.supervisord" in _read(pid, "cmdline")]


def _polite_signal(pid: int) -> signal.Signals:
    # SIGTERM makes Postgres wait for its clients to leave of their own accord.
    return signal.SIGINT if _is_postgres(pid) else signal.SIGTERM


def _curt_signal(pid: int) -> signal.Signals:
    # Killed, Postgres would leave its shared memory behind.
    return signal.SIGQUIT if _is_postgres(pid) else signal.SIGKILL


def _is_postgres(pid: int) -> bool:
    return _read(pid, "comm").strip() == b"postgres"


def _is_alive(pid: int) -> bool:
    # A zombie has ended; that nobody has asked for its exit code is not our affair.
    status = _read(pid, "stat").rpartition(b")")[2].split()
    return bool(status) and status[0] not in {b"Z", b"X"}


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
