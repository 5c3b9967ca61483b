"""Processes of a stack: started alone, found again after a crash, and ended.

A process id in a file is worthless after a power cut. A variable in each process's environment
names its stack, so leftovers are found by that, and no other process is ever signalled.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

from freehold_local.errors import StackError
from freehold_local.programs import OWNER_VARIABLE, Program, inherited_environment
from freehold_local.waiting import wait_until


def processes_of(owner: Path) -> list[int]:
    """The ids of all living processes of the stack in a folder.

    Their environment names the folder. If it was moved under them, their current folder is in it.
    """
    mark = f"{OWNER_VARIABLE}=".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                variables = (entry / "environ").read_bytes()
                if mark not in variables:
                    continue
                marks = [each for each in variables.split(b"\0") if each.startswith(mark)]
                if mark + bytes(owner) in marks or (marks and _runs_in(entry, owner)):
                    found.append(int(entry.name))
    return found


def end_processes(owner: Path, *, timeout_s: float, in_order: bool = True) -> None:
    """End every process of a stack: first by their stop signals, then by SIGKILL.

    Args:
        owner: The folder of the stack.
        timeout_s: The time they get to finish their work.
        in_order: Whether they get that time; not needed where their data is deleted anyway.

    Raises:
        StackError: Some did not end.
    """
    # The supervisor first: it ends the others in order, and would restart those ended before it.
    for group in (_supervisors(processes_of(owner)), processes_of(owner)):
        for pid in group:
            _signal(pid, _stop_signal(pid) if in_order else _kill_signal(pid))
        wait_until_ended(group, timeout_s=timeout_s)
    stubborn = processes_of(owner)
    for pid in stubborn:
        _signal(pid, signal.SIGKILL)
    if not wait_until_ended(stubborn, timeout_s=10):
        raise StackError(f"The processes {stubborn} do not end, not even when killed.")


def wait_until_ended(pids: Iterable[int], *, timeout_s: float) -> bool:
    """Wait for processes to end. Returns whether all ended in time."""
    left = list(pids)
    try:
        wait_until(lambda: not any(map(_is_alive, left)), timeout_s=timeout_s)
    except TimeoutError:
        return False
    return True


def start_alone(program: Program, log: Path) -> subprocess.Popen[bytes]:
    """Start a program without a supervisor, with its output appended to a log."""
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
    """End a program that ``start_alone`` started; kill it after its stop timeout."""
    if process.poll() is None:
        process.send_signal(program.stop_signal)
        try:
            process.wait(program.stop_timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for error messages."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return f"(no log at {log})"
    return "\n".join(text.splitlines()[-lines:]) or f"({log} is empty)"


def _runs_in(process: Path, folder: Path) -> bool:
    return (process / "cwd").readlink().is_relative_to(folder.resolve())


def _supervisors(pids: Iterable[int]) -> list[int]:
    return [pid for pid in pids if b"supervisor.supervisord" in _read(pid, "cmdline")]


def _stop_signal(pid: int) -> signal.Signals:
    # At SIGTERM, Postgres waits until its clients disconnect.
    return signal.SIGINT if _is_postgres(pid) else signal.SIGTERM


def _kill_signal(pid: int) -> signal.Signals:
    # Killed, Postgres leaves its shared memory behind.
    return signal.SIGQUIT if _is_postgres(pid) else signal.SIGKILL


def _is_postgres(pid: int) -> bool:
    return _read(pid, "comm").strip() == b"postgres"


def _is_alive(pid: int) -> bool:
    # A zombie has ended.
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
