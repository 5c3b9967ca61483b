"""The supervisor (supervisord) that keeps the stack's programs running, and its client.

Servers start with the supervisor, services when the servers are ready. They stop in reverse order.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import xmlrpc.client
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from freehold.settings import EXIT_REFUSED
from freehold_local.errors import StackError
from freehold_local.folders import write_whole
from freehold_local.processes import tail
from freehold_local.programs import OWNER_VARIABLE, Program, inherited_environment
from freehold_local.waiting import wait_until

START_TIMEOUT_S = 30
ANSWER_TIMEOUT_S = 5

SERVICES = "services"

# A socket's path has at most 107 bytes, and the supervisor appends its process id at first.
SOCKET_PATH_MAX_BYTES = 95

# Faults that mean that nothing had to be done.
ALREADY_STARTED, NOT_RUNNING = 60, 70


@dataclass(frozen=True, slots=True)
class ProgramState:
    """The state of one program."""

    name: str
    pid: int | None
    state: str
    exit_status: int = 0
    """Of its last run; below zero where a signal ended it."""
    ended_at: int = 0
    """The time of that, in seconds since 1970; 0 before the first end."""

    @property
    def is_running(self) -> bool:
        """Whether it runs, or is being started."""
        return self.state in {"RUNNING", "STARTING", "BACKOFF"}

    @property
    def is_given_up(self) -> bool:
        """Whether it will not start again: it failed too often, or refused its settings."""
        return self.state in {"FATAL", "UNKNOWN"} or (
            self.pid is None and self.exit_status == EXIT_REFUSED
        )


class Supervisor:
    """The supervisor of one stack.

    Args:
        state: The stack's folder.
        password: The password of its interface.
    """

    def __init__(self, state: Path, password: str) -> None:
        self._state = state
        self._password = password
        self.settings_file = state / "supervisord.conf"

    def settings_text(self, programs: Sequence[Program]) -> str:
        """The text of supervisord's settings file for these programs."""
        sections = [
            "; Written anew at each start.",
            "[supervisord]",
            "logfile=%(here)s/logs/supervisord.log",
            "logfile_maxbytes=5MB",
            "logfile_backups=1",
            "pidfile=%(here)s/supervisord.pid",
            *(["user=root"] if os.geteuid() == 0 else []),
            "[unix_http_server]",
            f"file={self._conf_path(self._socket())}",
            "chmod=0700",
            "username=freehold",
            f"password={self._password}",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        ]
        for number, program in enumerate(programs, 1):
            sections += self._program_section(program, priority=10 * number)
        # A group: services are stopped together, servers one after the other.
        services = [program.name for program in programs if not program.is_server]
        sections += [f"[group:{SERVICES}]", f"programs={','.join(services)}", "priority=1000"]
        return "\n".join(sections) + "\n"

    def start(self, programs: Sequence[Program]) -> None:
        """Start the supervisor, and with it the servers.

        Raises:
            StackError: It did not start; the message ends with its log.
        """
        write_whole(self.settings_file, self.settings_text(programs), mode=0o600)
        environment = inherited_environment() | {OWNER_VARIABLE: str(self._state)}
        started = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(self.settings_file)],
            cwd=self._state,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
        )
        try:
            wait_until(
                self.is_answering, timeout_s=START_TIMEOUT_S if started.returncode == 0 else 0
            )
        except TimeoutError:
            log = tail(self._state / "logs" / "supervisord.log")
            raise StackError(f"The supervisor does not start:\n{started.stdout}{log}") from None

    def is_answering(self) -> bool:
        """Whether the supervisor runs."""
        if not self.settings_file.exists():
            return False
        try:
            # First a connection: the client leaks a socket that cannot connect.
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.connect(str(self._socket()))
            self._call("supervisor.getState")
        except (OSError, httpx.HTTPError):
            return False
        return True

    def states(self) -> dict[str, ProgramState]:
        """The state of each program, by its name."""
        return {
            info["name"]: ProgramState(
                info["name"],
                info["pid"] or None,
                info["statename"],
                info["exitstatus"],
                info["stop"],
            )
            for info in self._call("supervisor.getAllProcessInfo")
        }

    def start_program(self, name: str) -> None:
        """Start a program, unless it runs."""
        with _unless(ALREADY_STARTED):
            self._call("supervisor.startProcess", self._full_name(name), False)

    def stop_program(self, program: Program) -> None:
        """Stop a program, and wait until it has ended."""
        with _unless(NOT_RUNNING):
            timeout_s = program.stop_timeout_s + ANSWER_TIMEOUT_S
            full_name = self._full_name(program.name)
            self._call("supervisor.stopProcess", full_name, timeout_s=timeout_s)

    def _full_name(self, name: str) -> str:
        infos = self._call("supervisor.getAllProcessInfo")
        return next((f"{info['group']}:{name}" for info in infos if info["name"] == name), name)

    def _call(self, method: str, *arguments: Any, timeout_s: float = ANSWER_TIMEOUT_S) -> Any:
        # No TLS here, so no loading of the machine's certificates for each call (20 ms).
        transport = httpx.HTTPTransport(uds=str(self._socket()), verify=False)
        with httpx.Client(transport=transport, timeout=timeout_s) as client:
            answer = client.post(
                "http://supervisor/RPC2",
                content=xmlrpc.client.dumps(arguments, method),
                headers={"Content-Type": "text/xml"},
                auth=("freehold", self._password),
            )
        answer.raise_for_status()
        values, _ = xmlrpc.client.loads(answer.text)
        return values[0]

    def _socket(self) -> Path:
        usual = self._state / "supervisor.sock"
        if len(bytes(usual)) <= SOCKET_PATH_MAX_BYTES:
            return usual
        note = self._state / "socket-folder"
        with contextlib.suppress(FileNotFoundError):
            folder = Path(note.read_text())
            # After a boot, another user may have made a folder of that name.
            if folder.is_dir() and folder.stat().st_uid == os.geteuid():
                return folder / usual.name
        folder = Path(tempfile.mkdtemp(prefix="freehold-"))
        write_whole(note, str(folder), mode=0o600)
        return folder / usual.name

    def _program_section(self, program: Program, *, priority: int) -> list[str]:
        return [
            f"[program:{program.name}]",
            f'command="{self._conf_path(program.script)}"',
            f"directory={self._conf_path(program.folder)}",
            *([f"user={program.account.name}"] if program.account else []),
            f"priority={priority}",
            f"autostart={'true' if program.is_server else 'false'}",
            # A service that refuses its settings would refuse them again.
            "autorestart=unexpected",
            f"exitcodes={EXIT_REFUSED}",
            "startsecs=1",
            # The port or shared memory of a killed server may stay taken for some seconds.
            f"startretries={20 if program.is_server else 5}",
            f"stopsignal={signal.Signals(program.stop_signal).name.removeprefix('SIG')}",
            f"stopwaitsecs={program.stop_timeout_s}",
            "killasgroup=true",
            f"stdout_logfile=%(here)s/logs/{program.name}.log",
            "stdout_logfile_maxbytes=20MB",
            "stdout_logfile_backups=3",
            "redirect_stderr=true",
        ]

    def _conf_path(self, path: Path) -> str:
        # Relative to the settings file if possible: some characters are special there.
        if path.is_relative_to(self._state):
            return f"%(here)s/{path.relative_to(self._state)}"
        return str(path)


@contextlib.contextmanager
def _unless(harmless_fault: int) -> Iterator[None]:
    try:
        yield
    except xmlrpc.client.Fault as fault:
        if fault.faultCode != harmless_fault:
            raise StackError(f"The supervisor refuses: {fault.faultString}") from fault
