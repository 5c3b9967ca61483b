"""A PgBouncer before a Postgres, where this machine has one."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from freehold_local.ports import LOOPBACK, free_port
from freehold_local.waiting import wait_until

_START_TIMEOUT_S = 30


@contextmanager
def pgbouncer(server_url: str, *, connect_query: str = "", **settings: str) -> Iterator[str]:
    """Have a PgBouncer for a while, and yield its URL; skip the test where there is none.

    Args:
        server_url: The server, and the role that all its clients become.
        connect_query: What it says on each connection that it opens.
        settings: Of its section [pgbouncer].
    """
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("this machine has no pgbouncer")
    server = urlsplit(server_url)
    port = free_port()
    server_place = f"host={server.hostname} port={server.port} user={server.username}"
    query = f" connect_query='{connect_query}'" if connect_query else ""
    lines = [
        "[databases]",
        f"* = {server_place} password={unquote(server.password or '')}{query}",
        "[pgbouncer]",
        f"listen_addr = {LOOPBACK}",
        f"listen_port = {port}",
        "unix_socket_dir =",
        # Every client is let in, as the role above.
        "auth_type = any",
        *(f"{name} = {value}" for name, value in settings.items()),
    ]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "pgbouncer.ini"
        file.write_text("\n".join(lines) + "\n")
        # It refuses to run as root.
        user = "nobody" if os.geteuid() == 0 else None
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen([program, str(file)], user=user, stdout=log, stderr=log)
        try:
            wait_until(
                lambda: f"{LOOPBACK}:{port}" in (Path(folder) / "log").read_text(),
                timeout_s=_START_TIMEOUT_S,
                alive=lambda: process.poll() is None,
            )
            yield server._replace(netloc=f"client@{LOOPBACK}:{port}").geturl()
        finally:
            process.terminate()
            process.wait(10)
