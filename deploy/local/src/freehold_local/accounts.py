"""Who the servers run as: never root, and otherwise the person who started them.

Postgres refuses to run as root and a broker should not. Run by root, each server therefore becomes
the system user that its own package made; run by anyone else, it stays that person's process.
"""

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from freehold_local.errors import StackError


@dataclass(frozen=True, slots=True)
class Account:
    """A system user that a server runs as."""

    name: str
    uid: int
    gid: int
    home: Path


def server_account(name: str) -> Account | None:
    """The user a server must become, or None where it runs as whoever asks.

    Args:
        name: The system user made by the server's package.

    Raises:
        StackError: We are root, and there is no such user.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise StackError(
            f"{name} must not run as root, and this machine has no user {name!r} to run it as.\n"
            f"Make one (useradd --system {name}), or run this as an ordinary user."
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir))


def run_as(
    account: Account | None, command: Sequence[str], *, cwd: Path, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run a short command to its end as a server's user and answer what it said.

    Args:
        account: The user to become, or None to stay who we are.
        command: The program and its arguments.
        cwd: A folder that the user can enter.
        timeout_s: After so many seconds the command is killed.

    Raises:
        subprocess.TimeoutExpired: The command took longer.
    """
    return subprocess.run(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        check=False,
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else [],
    )
