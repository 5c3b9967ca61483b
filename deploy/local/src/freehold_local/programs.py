"""A program of the stack: its start script, its user, and its stop signal.

The script sets the program's whole environment. So it starts the same way under the supervisor, in
a test and from a shell, and no secret is in a command line.
"""

import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from freehold_local.accounts import Account
from freehold_local.folders import write_whole

# Names the stack in the environment of each of its processes, so that they can be found again.
# Without the prefix FREEHOLD_, since services refuse unknown settings.
OWNER_VARIABLE = "LOCAL_STACK"

# Patterns of the variables that a program inherits; all others are set by its script. A shell that
# has read `freehold.env` has settings that a service refuses, and PG…, RABBITMQ_… or PYTHON… may
# name another server or library.
INHERITED = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LC_*", "TZ", "TMPDIR"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_*"),
)

# Variables that the shell cannot unset stay.
CLEANING = f"""\
for name in $(env | sed -n 's/^\\([A-Za-z_][A-Za-z0-9_]*\\)=.*/\\1/p'); do
    case $name in
        {"|".join(INHERITED)}) ;;
        *) (unset "$name") 2>/dev/null && unset "$name" ;;
    esac
done"""


@dataclass(frozen=True, slots=True)
class Program:
    """One process that the stack keeps running.

    Attributes:
        name: Its name, and that of its log.
        script: The script that execs it.
        folder: Its current folder.
        account: The user it runs as; None for the present one.
        stop_signal: The signal that makes it finish its work and end.
        stop_timeout_s: The seconds after which it is killed.
        is_server: Whether it is a server, which starts before the services.
    """

    name: str
    script: Path
    folder: Path
    account: Account | None
    stop_signal: signal.Signals
    stop_timeout_s: int
    is_server: bool


def script_text(
    what: str,
    *,
    owner: Path,
    folder: Path,
    environment: Mapping[str, str],
    command: Sequence[str | Path],
) -> str:
    """The text of a start script.

    Args:
        what: A sentence about it, for the reader of the script.
        owner: The folder of its stack.
        folder: Its current folder.
        environment: Its variables, besides INHERITED.
        command: The program and its arguments.
    """
    exports = {OWNER_VARIABLE: str(owner), **environment}
    lines = [
        "#!/bin/sh",
        f"# {what} Written anew at each start; changes made here are lost.",
        CLEANING,
        f"cd {shlex.quote(str(folder))} || exit 1",
        *(f"export {name}={shlex.quote(value)}" for name, value in exports.items()),
        f'exec {shlex.join(str(part) for part in command)} "$@"',
    ]
    return "\n".join(lines) + "\n"


def write_script(script: Path, text: str, account: Account | None) -> None:
    """Write a start script that only its program's user can read and run."""
    if account is None:
        write_whole(script, text, mode=0o700)
    else:
        write_whole(script, text, mode=0o750, group=account.gid)


def inherited_environment() -> dict[str, str]:
    """The present variables that a program inherits."""
    return {
        name: value
        for name, value in os.environ.items()
        if any(fnmatchcase(name, pattern) for pattern in INHERITED)
    }
