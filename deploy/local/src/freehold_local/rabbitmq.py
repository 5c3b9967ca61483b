"""A private RabbitMQ: its own node, cookie and port mapper, loopback only, one user.

The node is ``freehold@localhost``, so this machine's own name need not resolve. Erlang's port
mapper runs as a program of its own, since one that the node starts would outlive the node.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from freehold_local.accounts import Account, run_as, server_account
from freehold_local.errors import StackError
from freehold_local.folders import settle, write_whole
from freehold_local.installation import LOWEST_RABBITMQ, find_epmd, find_rabbitmq
from freehold_local.ports import LOOPBACK, choose_ports, remembered_ports
from freehold_local.programs import Program, script_text, write_script
from freehold_local.servers import STOP_TIMEOUT_S, PrivateServer

PUBLISHER = Path(__file__).resolve().parents[3] / "rabbitmq" / "publisher.sh"
USUAL_PORT = 5672
USER = "freehold"
NODE = "freehold@localhost"
# publisher.sh runs rabbitmqctl several times, and each run starts an Erlang node.
PUBLISHER_TIMEOUT_S = 120

# The first bytes of an AMQP 0-9-1 client, and the beginning of the frame that a broker answers:
# a method frame on channel 0 with connection.start.
AMQP_GREETING = b"AMQP\x00\x00\x09\x01"
AMQP_START = (b"\x01\x00\x00", b"\x00\x0a\x00\x0a")

# A quorum queue stores the path of its data, and works under no other. This path starts at the
# node's current folder, so it stays right when the folder is moved or copied.
MNESIA_BASE = "/proc/self/cwd/data/mnesia"

# In a quorum queue's `config`, a file of Erlang terms. A long string is written in pieces there.
QUEUE_PATH = re.compile(r'data_dir\s*=>\s*((?:"[^"]*"\s*)+)')

SETTINGS = """\
# Written anew at each start.
listeners.tcp.local = 127.0.0.1:{port}
default_user = {user}
default_pass = {password}
log.console = true
log.console.level = info
log.file = false
# Doorbells are small: the default of 512 MB would only take memory from the rest.
raft.wal_max_size_bytes = 67108864
"""


class PrivateRabbitMQ(PrivateServer):
    """One RabbitMQ node of our own."""

    title = "RabbitMQ"
    port_name = "amqp"

    @property
    def url(self) -> str:
        """The services' URL."""
        return f"amqp://{USER}:{self.password}@{LOOPBACK}:{self.port}/"

    def prepare(self) -> list[Program]:
        """See PrivateServer."""
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
        refuse_moved(real / "data")
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
        """Erlang's port mapper, then the node."""
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

    def publisher(self, *arguments: str) -> str:
        """Run ``deploy/rabbitmq/publisher.sh`` on the running node, and give its output.

        Raises:
            StackError: The node does not run, or the script failed.
        """
        server = find_rabbitmq()
        if server is None or not self.is_prepared or not self.is_ready():
            raise StackError("The broker is not up: `make up` first.")
        real, account = self.folder.resolve(), server_account("rabbitmq")
        text = script_text(
            "Makes, removes and lists publishers of this private RabbitMQ.",
            owner=self.owner,
            folder=real,
            environment={
                **self._environment(remembered_ports(real / "ports.json")),
                # rabbitmqctl itself: Debian's wrapper insists on the system's own broker.
                "PATH": f"{server.parent}:{os.environ['PATH']}",
                "PUBLISHER_PLACE": f"{LOOPBACK}:{self.port}",
            },
            # As text: the node's user may be unable to read this checkout.
            command=["sh", "-c", PUBLISHER.read_text(), PUBLISHER.name],
        )
        write_script(real / "publisher", text, account)
        command = [str(real / "publisher"), *arguments]
        try:
            done = run_as(account, command, cwd=real, timeout_s=PUBLISHER_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise StackError(
                f"The broker did not answer within {PUBLISHER_TIMEOUT_S} seconds."
            ) from None
        if done.returncode != 0:
            raise StackError(done.stdout.strip())
        return done.stdout

    def _environment(self, ports: dict[str, int]) -> dict[str, str]:
        """The variables of every program of the node."""
        real = self.folder.resolve()
        return {
            "HOME": str(real / "data"),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "ERL_EPMD_PORT": str(ports["epmd"]),
            "RABBITMQ_NODENAME": NODE,
            # Not the settings of the system's own broker.
            "RABBITMQ_CONF_ENV_FILE": str(real / "no-rabbitmq-env.conf"),
        }

    def _write_scripts(self, server: Path, epmd: Path, ports: dict[str, int]) -> None:
        real = self.folder.resolve()
        data = real / "data"
        shared = self._environment(ports)
        node = {
            "RABBITMQ_DIST_PORT": str(ports["distribution"]),
            "RABBITMQ_CONFIG_FILE": str(real / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(real / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": MNESIA_BASE,
            "RABBITMQ_LOG_BASE": str(data / "log"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(data / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ("-kernel inet_dist_use_interface {127,0,0,1}"),
            "ERL_CRASH_DUMP": str(data / "erl_crash.dump"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(real / "no-advanced.config"),
            # Makes RabbitMQ's start script exec the node, so that signals reach it.
            "RUNNING_UNDER_SYSTEMD": "true",
        }
        texts = {
            "start-epmd": script_text(
                "Starts the port mapper of this private RabbitMQ.",
                owner=self.owner,
                folder=real,
                environment=shared,
                command=[epmd, "-address", LOOPBACK, "-port", str(ports["epmd"])],
            ),
            "start": script_text(
                "Starts this private RabbitMQ.",
                owner=self.owner,
                folder=real,
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


def refuse_moved(data: Path) -> None:
    """Refuse queues that an earlier release made in another folder.

    Raises:
        StackError: There are such queues. The message names their folder and the remedies.
    """
    for config in (data / "mnesia").glob("**/config"):
        written = QUEUE_PATH.search(config.read_text(errors="replace"))
        made_in = "".join(re.findall('"([^"]*)"', written.group(1))) if written else MNESIA_BASE
        if not made_in.startswith((MNESIA_BASE, f"{data / 'mnesia'}/")):
            before = made_in.partition("/mnesia/")[0]
            raise StackError(
                f"The broker's queues in {data} were made in {before} and work there only: this "
                "folder was moved or copied.\n"
                f"Move it back; or go on here without them:  rm -r {data / 'mnesia'}\n"
                "That loses the broker's own users, and every message that an app published and "
                "ingest has not taken. No event and no balance is lost: doorbells are found again "
                "from the ledgers."
            )


def _make_home(home: Path, account: Account | None) -> None:
    home.mkdir(mode=0o700, exist_ok=True)
    # Erlang accepts a cookie only from a file of mode 0400.
    cookie = home / ".erlang.cookie"
    write_whole(cookie, secrets.token_hex(20), mode=0o400)
    if account is not None:
        os.chown(cookie, account.uid, account.gid)
        shutil.chown(home, account.uid, account.gid)
