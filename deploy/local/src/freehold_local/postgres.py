"""A private Postgres: its own data folder, loopback only, a password for every role."""

import secrets
import shutil
import signal
from pathlib import Path

from freehold_local.accounts import Account, run_as, server_account
from freehold_local.database import is_answering
from freehold_local.errors import StackError
from freehold_local.folders import settle, write_whole
from freehold_local.installation import HIGHEST_POSTGRES, LOWEST_POSTGRES, find_postgres
from freehold_local.ports import LOOPBACK, choose_ports
from freehold_local.programs import Program, script_text, write_script
from freehold_local.servers import STOP_TIMEOUT_S, PrivateServer

USUAL_PORT = 5432
SUPERUSER = "postgres"
INITDB_TIMEOUT_S = 120
MAX_CONNECTIONS = 500

# The line of postmaster.pid, from 0, with the state of the start (miscadmin.h,
# LOCK_FILE_LINE_PM_STATUS).
STATUS_LINE = 7

SETTINGS = """\
# Written anew at each start; ALTER SYSTEM SET keeps a change of yours.
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = ''
max_connections = {max_connections}
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


class PrivatePostgres(PrivateServer):
    """One Postgres instance of our own."""

    title = "Postgres"
    port_name = "postgres"

    @property
    def url(self) -> str:
        """The superuser's URL."""
        return f"postgresql://{SUPERUSER}:{self.password}@{LOOPBACK}:{self.port}/postgres"

    def prepare(self) -> list[Program]:
        """See PrivateServer."""
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
        settings = SETTINGS.format(port=ports["postgres"], max_connections=MAX_CONNECTIONS)
        write_whole(real / "postgresql.conf", settings, mode=0o644)
        (program,) = self.programs()
        text = script_text(
            "Starts this private Postgres.",
            owner=self.owner,
            folder=real,
            environment={"HOME": str(real), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"},
            command=[
                binaries / "postgres",
                "-D",
                real / "data",
                f"--config-file={real / 'postgresql.conf'}",
            ],
        )
        write_script(program.script, text, account)
        return [program]

    def programs(self) -> list[Program]:
        """See PrivateServer."""
        real = self.folder.resolve()
        return [
            Program(
                name="postgres",
                script=real / "start",
                folder=real,
                account=server_account("postgres"),
                stop_signal=signal.SIGINT,
                stop_timeout_s=STOP_TIMEOUT_S,
                is_server=True,
            )
        ]

    def is_ready(self) -> bool:
        """Whether it answers a query, which is sent only when its status file says "ready".

        A query before that would leave an error in its log.
        """
        try:
            lines = (self.folder / "data" / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return lines[STATUS_LINE : STATUS_LINE + 1] == ["ready   "] and is_answering(self.url)


def _binaries_for(data: Path) -> Path:
    version_file = data / "PG_VERSION"
    version = int(version_file.read_text()) if version_file.exists() else None
    binaries = find_postgres(version)
    if binaries is not None:
        return binaries
    if version is None:
        raise StackError(
            f"No PostgreSQL {LOWEST_POSTGRES} to {HIGHEST_POSTGRES} on this machine; "
            "`make up` installs it where it may, or says what to install."
        )
    raise StackError(
        f"The data in {data} was made by PostgreSQL {version}, which is not on this machine.\n"
        f"Install postgresql-{version}, or carry the data over with pg_upgrade."
    )


def _make_data(binaries: Path, real: Path, account: Account | None) -> None:
    # Made under another name, so that half of it, left by a power cut, is never taken for data.
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
