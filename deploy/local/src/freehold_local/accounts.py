"""The system users that servers run as.

Postgres refuses to run as root, and a broker should not. Started by root, each server runs as the
user that its package made; started by another user, it runs as that user.
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
    """The user that a server must run as; None for the present user.

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
    """Run a short command as a server's user, with stdout and stderr joined.

    Args:
        account: The user; None for the present one.
        command: The program and its arguments.
        cwd: A folder that the user can enter.
        timeout_s: The seconds after which the command is killed.

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
