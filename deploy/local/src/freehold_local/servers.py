"""A private server: everything about it, its port, password and data, is in its own folder."""

import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from freehold_local.errors import StackError
from freehold_local.ports import remembered_ports
from freehold_local.processes import end_processes, start_alone, stop_alone, tail
from freehold_local.programs import Program
from freehold_local.waiting import wait_until

START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 60


class PrivateServer(ABC):
    """One server of our own.

    Args:
        folder: The folder for everything that it keeps.
        owner: The stack that it belongs to; the server itself where there is none.
        usual_port: The port to take where it is free; None for any free port.
    """

    title: ClassVar[str]
    port_name: ClassVar[str]

    def __init__(
        self, folder: Path, *, owner: Path | None = None, usual_port: int | None = None
    ) -> None:
        self.folder = folder.absolute()
        self.owner = self.folder if owner is None else owner
        self._usual_port = usual_port
        self._running: list[tuple[Program, subprocess.Popen[bytes]]] = []

    @property
    def port(self) -> int:
        """The port it listens on, chosen by ``prepare``."""
        return remembered_ports(self.folder / "ports.json")[self.port_name]

    @property
    def password(self) -> str:
        """The password of its user, made by ``prepare``."""
        return (self.folder / "password").read_text().strip()

    @property
    def is_prepared(self) -> bool:
        """Whether ``prepare`` was ever done."""
        return (self.folder / "start").exists()

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL with user and password."""

    @abstractmethod
    def prepare(self) -> list[Program]:
        """Make its data where there is none, choose ports, and write its start scripts.

        Raises:
            StackError: Its programs are missing on this machine, or its data cannot be used.
        """

    @abstractmethod
    def programs(self) -> list[Program]:
        """The programs of the prepared server, in the order in which they start."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it serves."""

    def start(self) -> None:
        """Run it without a supervisor, and wait until it is ready.

        Raises:
            StackError: It did not get ready in time; the message ends with its log.
        """
        end_processes(self.folder, timeout_s=STOP_TIMEOUT_S)
        log = self.folder / "log"
        for program in self.prepare():
            self._running.append((program, start_alone(program, log)))
        try:
            wait_until(self.is_ready, timeout_s=START_TIMEOUT_S, alive=self._is_alive)
        except TimeoutError:
            self.stop()
            raise StackError(
                f"{self.title} in {self.folder} does not start:\n{tail(log)}"
            ) from None

    def stop(self) -> None:
        """End it and keep its data."""
        while self._running:
            stop_alone(*self._running.pop())

    def _is_alive(self) -> bool:
        return all(process.poll() is None for _, process in self._running)
