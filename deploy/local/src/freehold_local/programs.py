"""A program of the stack: a start script, who runs it, and how it is asked to stop.

The script holds the program's whole environment, so that it starts the same way under the
supervisor, in a test and from a shell, and so that no secret ever stands in a command line.
"""

import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from freehold_local.accounts import Account
from freehold_local.folders import write_whole

# Names the stack in the environment of each of its processes, which is how they are found again.
# Not FREEHOLD_: the services refuse settings that they do not know.
OWNER_VARIABLE = "LOCAL_STACK"

# Settings of other servers and clients, which must not leak into ours.
FOREIGN_PREFIXES = ("FREEHOLD_", "RABBITMQ_", "ERL_", "PG", "SUPERVISOR_", "LOCAL_STACK")


@dataclass(frozen=True, slots=True)
class Program:
    """One process that the stack keeps running.

    Attributes:
        name: What people call it, and the name of its log.
        script: The script that becomes the program.
        folder: Where it runs.
        account: The user it runs as, or None for whoever starts it.
        stop_signal: What makes it finish its work and end.
        stop_timeout_s: After so many seconds it is killed.
        is_server: Whether it is a server that the services need, and so starts before them.
    """

    name: str
    script: Path
    folder: Path
    account: Account | None
    stop_signal: signal.Signals
    stop_timeout_s: int
    is_server: bool


def script_text(
    what: str, *, owner: Path, environment: Mapping[str, str], command: Sequence[str | Path]
) -> str:
    """The text of a start script.

    Args:
        what: A line that tells a reader what the script starts.
        owner: The folder of the stack that the process belongs to.
        environment: Variables it is given on top of what it inherits.
        command: The program and its arguments.
    """
    exports = {OWNER_VARIABLE: str(owner), **environment}
    lines = [
        "#!/bin/sh",
        f"# {what} Written anew at each start; changes made here are lost.",
        *(f"export {name}={shlex.quote(value)}" for name, value in exports.items()),
        f'exec {shlex.join(str(part) for part in command)} "$@"',
    ]
    return "\n".join(lines) + "\n"


def write_script(script: Path, text: str, account: Account | None) -> None:
    """Write a start script that its program's user, and nobody else, can read and run."""
    if account is None:
        write_whole(script, text, mode=0o700)
    else:
        write_whole(script, text, mode=0o750, group=account.gid)


def inherited_environment() -> dict[str, str]:
    """Our own environment without the settings of other servers and clients."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_PREFIXES)
    }
