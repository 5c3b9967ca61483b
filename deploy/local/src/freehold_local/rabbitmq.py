"""A private RabbitMQ: its own node, cookie and port mapper, loopback only, one user.

The node is ``freehold@localhost``, so it does not matter how, or whether, this machine's own name
resolves. Erlang's port mapper runs as a program of its own: one that the node started by itself
would outlive it.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from freehold_local.accounts import Account, server_account
from freehold_local.errors import StackError
from freehold_local.folders import settle, write_whole
from freehold_local.installation import LOWEST_RABBITMQ, find_epmd, find_rabbitmq
from freehold_local.ports import LOOPBACK, choose_ports, remembered_ports
from freehold_local.processes import end_processes, start_alone, stop_alone, tail
from freehold_local.programs import Program, script_text, write_script
from freehold_local.waiting import wait_until

USUAL_PORT = 5672
USER = "freehold"
NODE = "freehold@localhost"
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 60

# What a client of AMQP 0-9-1 says first, and how the frame begins in which a broker answers:
# a method, on channel 0, ..., of class connection, start.
AMQP_GREETING = b"AMQP\x00\x00\x09\x01"
AMQP_START = (b"\x01\x00\x00", b"\x00\x0a\x00\x0a")

SETTINGS = """\
# Written anew at each start.
listeners.tcp.local = 127.0.0.1:{port}
default_user = {user}
default_pass = {password}
log.console = true
log.console.level = info
log.file = false
# A ledger's doorbells are small: the usual 512 MB would only take memory from the rest.
raft.wal_max_size_bytes = 67108864
"""


class PrivateRabbitMQ:
    """One RabbitMQ node of our own.

    Args:
        folder: Where all of it is kept.
        owner: The stack that it belongs to; itself where it stands alone.
        usual_port: The port to take where it is free, or None for any free one.
    """

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
        return remembered_ports(self.folder / "ports.json")["amqp"]

    @property
    def password(self) -> str:
        """The password of its one user, made when the node was."""
        return (self.folder / "password").read_text().strip()

    @property
    def url(self) -> str:
        """The way in for the services."""
        return f"amqp://{USER}:{self.password}@{LOOPBACK}:{self.port}/"

    @property
    def is_prepared(self) -> bool:
        """Whether ``prepare`` was ever done."""
        return (self.folder / "start").exists()

    def prepare(self) -> list[Program]:
        """Make the node's folder where there is none yet, choose ports, and write what starts it.

        Raises:
            StackError: RabbitMQ is not on this machine.
        """
        server, epmd = find_rabbitmq(), find_epmd()
        if server is None or epmd is None:
            raise StackError(
                f"No RabbitMQ {LOWEST_RABBITMQ} or later on this machine; "
                "`make up` installs it where it may, or says what to install."
            )
        account = server_account("rabbitmq")
        real = settle(self.folder, account)
        if not (real / "password").exists():
            write_whole(real / "password", secrets.token_urlsafe(24), mode=0o600)
        if not (real / "data" / ".erlang.cookie").exists():
            _make_home(real / "data", account)
        ports = choose_ports(
            real / "ports.json", {"amqp": self._usual_port, "distribution": None, "epmd": None}
        )
        settings = SETTINGS.format(port=ports["amqp"], user=USER, password=self.password)
        group = -1 if account is None else account.gid
        mode = 0o600 if account is None else 0o640
        write_whole(real / "rabbitmq.conf", settings, mode=mode, group=group)
        write_whole(real / "enabled_plugins", "[].\n", mode=0o644)
        self._write_scripts(server, epmd, ports)
        return self.programs()

    def programs(self) -> list[Program]:
        """How the prepared node is run: its port mapper first, then the node."""
        real = self.folder.resolve()
        account = server_account("rabbitmq")
        return [
            Program(
                name="epmd",
                script=real / "start-epmd",
                folder=real,
                account=account,
                stop_signal=signal.SIGTERM,
                stop_timeout_s=10,
                is_server=True,
            ),
            Program(
                name="rabbitmq",
                script=real / "start",
                folder=real,
                account=account,
                stop_signal=signal.SIGTERM,
                stop_timeout_s=STOP_TIMEOUT_S,
                is_server=True,
            ),
        ]

    def is_ready(self) -> bool:
        """Whether it answers a client's greeting; it does so only when it has started in full."""
        return speaks_amqp(LOOPBACK, self.port)

    def start(self) -> None:
        """Run it without a supervisor, and wait until it answers.

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
            raise StackError(f"RabbitMQ in {self.folder} does not start:\n{tail(log)}") from None

    def stop(self) -> None:
        """End it and keep its queues."""
        while self._running:
            stop_alone(*self._running.pop())

    def _is_alive(self) -> bool:
        return all(process.poll() is None for _, process in self._running)

    def _write_scripts(self, server: Path, epmd: Path, ports: dict[str, int]) -> None:
        real = self.folder.resolve()
        data = real / "data"
        shared = {
            "HOME": str(data),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(ports["epmd"]),
        }
        node = {
            "RABBITMQ_NODENAME": NODE,
            "RABBITMQ_DIST_PORT": str(ports["distribution"]),
            "RABBITMQ_CONFIG_FILE": str(real / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(real / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(data / "mnesia"),
            "RABBITMQ_LOG_BASE": str(data / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(data / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ("-kernel inet_dist_use_interface {127,0,0,1}"),
            "ERL_CRASH_DUMP": str(data / "erl_crash.dump"),
            # The system's own broker may be set up here; this node is another.
            "RABBITMQ_CONF_ENV_FILE": str(real / "no-rabbitmq-env.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(real / "no-advanced.config"),
            # Makes the start script become the node instead of standing between it and signals.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
        texts = {
            "start-epmd": script_text(
                "Starts the port mapper of this private RabbitMQ.",
                owner=self.owner,
                environment=shared,
                command=[epmd, "-address", LOOPBACK, "-port", str(ports["epmd"])],
            ),
            "start": script_text(
                "Starts this private RabbitMQ.",
                owner=self.owner,
                environment={**shared, **node},
                command=[server],
            ),
        }
        for name, text in texts.items():
            write_script(real / name, text, server_account("rabbitmq"))


def speaks_amqp(host: str, port: int) -> bool:
    """Whether an AMQP 0-9-1 broker answers at this address within two seconds."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), 2) as connection:
        connection.settimeout(2)
        connection.sendall(AMQP_GREETING)
        frame = connection.recv(11, socket.MSG_WAITALL)
        return (frame[:3], frame[7:]) == AMQP_START
    return False


def _make_home(home: Path, account: Account | None) -> None:
    home.mkdir(mode=0o700, exist_ok=True)
    # Erlang takes a cookie only from a file that its owner alone can read.
    cookie = home / ".erlang.cookie"
    write_whole(cookie, secrets.token_hex(20), mode=0o400)
    if account is not None:
        os.chown(cookie, account.uid, account.gid)
        shutil.chown(home, account.uid, account.gid)
