"""A private Postgres: its own data folder, loopback only, a password for everyone.

All that is remembered about it (port, superuser's password, data) stands in its own folder: a
later start finds it there and goes on with the same data.
"""

import secrets
import shutil
import signal
import subprocess
from pathlib import Path

from freehold_local.accounts import Account, run_as, server_account
from freehold_local.database import is_answering
from freehold_local.errors import StackError
from freehold_local.folders import settle, write_whole
from freehold_local.installation import LOWEST_POSTGRES, find_postgres
from freehold_local.ports import LOOPBACK, choose_ports, remembered_ports
from freehold_local.processes import end_processes, start_alone, stop_alone, tail
from freehold_local.programs import Program, script_text, write_script
from freehold_local.waiting import wait_until

USUAL_PORT = 5432
SUPERUSER = "postgres"
INITDB_TIMEOUT_S = 120
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 60

SETTINGS = """\
# Written anew at each start; ALTER SYSTEM SET keeps a change of yours.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = 500
shared_buffers = 256MB
# For many databases: by default each file is opened after a crash, each database seen every minute.
recovery_init_sync_method = syncfs
autovacuum_naptime = 5min
password_encryption = scram-sha-256
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
log_checkpoints = off
"""


class PrivatePostgres:
    """One Postgres instance of our own.

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
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """The port it listens on, chosen by ``prepare``."""
        return remembered_ports(self.folder / "ports.json")["postgres"]

    @property
    def url(self) -> str:
        """The superuser's way in."""
        password = (self.folder / "password").read_text().strip()
        return f"postgresql://{SUPERUSER}:{password}@{LOOPBACK}:{self.port}/postgres"

    @property
    def is_prepared(self) -> bool:
        """Whether ``prepare`` was ever done."""
        return (self.folder / "start").exists()

    def prepare(self) -> Program:
        """Make the data folder where there is none yet, choose the port, and write what starts it.

        Raises:
            StackError: The programs that this data needs are not on this machine.
        """
        account = server_account("postgres")
        real = settle(self.folder, account)
        binaries = _binaries_for(real / "data")
        if not (real / "password").exists():
            group = -1 if account is None else account.gid
            mode = 0o600 if account is None else 0o640
            write_whole(real / "password", secrets.token_urlsafe(24), mode=mode, group=group)
        if not (real / "data").exists():
            _make_data(binaries, real, account)
        ports = choose_ports(real / "ports.json", {"postgres": self._usual_port})
        write_whole(real / "postgresql.conf", SETTINGS.format(port=ports["postgres"]), mode=0o644)
        program = self.program()
        text = script_text(
            "Starts this private Postgres.",
            owner=self.owner,
            environment={"HOME": str(real), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"},
            command=[
                binaries / "postgres",
                "-D",
                real / "data",
                f"--config-file={real / 'postgresql.conf'}",
            ],
        )
        write_script(program.script, text, account)
        return program

    def program(self) -> Program:
        """How the prepared instance is run."""
        real = self.folder.resolve()
        return Program(
            name="postgres",
            script=real / "start",
            folder=real,
            account=server_account("postgres"),
            stop_signal=signal.SIGINT,
            stop_timeout_s=STOP_TIMEOUT_S,
            is_server=True,
        )

    def is_ready(self) -> bool:
        """Whether it answers a query."""
        return is_answering(self.url)

    def start(self) -> None:
        """Run it without a supervisor, and wait until it answers.

        Raises:
            StackError: It did not get ready in time; the message ends with its log.
        """
        end_processes(self.folder, timeout_s=STOP_TIMEOUT_S)
        program = self.prepare()
        log = self.folder / "log"
        process = self._process = start_alone(program, log)
        try:
            wait_until(
                self.is_ready, timeout_s=START_TIMEOUT_S, alive=lambda: process.poll() is None
            )
        except TimeoutError:
            self.stop()
            raise StackError(f"Postgres in {self.folder} does not start:\n{tail(log)}") from None

    def stop(self) -> None:
        """End it, closing every client's connection, and keep the data."""
        if self._process is not None:
            stop_alone(self.program(), self._process)
            self._process = None


def _binaries_for(data: Path) -> Path:
    version_file = data / "PG_VERSION"
    version = int(version_file.read_text()) if version_file.exists() else None
    binaries = find_postgres(version)
    if binaries is not None:
        return binaries
    if version is None:
        raise StackError(
            f"No PostgreSQL {LOWEST_POSTGRES} or later on this machine; "
            "`make up` installs it where it may, or says what to install."
        )
    raise StackError(
        f"The data in {data} was made by PostgreSQL {version}, which is not on this machine.\n"
        f"Install postgresql-{version}, or carry the data over with pg_upgrade."
    )


def _make_data(binaries: Path, real: Path, account: Account | None) -> None:
    # Made beside its final place: half of it, left by a power cut, is never mistaken for data.
    new = real / "data.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    if account is not None:
        shutil.chown(new, account.uid, account.gid)
    made = run_as(
        account,
        [
            str(binaries / "initdb"),
            f"--pgdata={new}",
            f"--username={SUPERUSER}",
            f"--pwfile={real / 'password'}",
            "--auth-host=scram-sha-256",
            "--auth-local=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--data-checksums",
        ],
        cwd=real,
        timeout_s=INITDB_TIMEOUT_S,
    )
    if made.returncode != 0:
        raise StackError(f"initdb could not make {new}:\n{made.stdout}")
    new.rename(real / "data")
