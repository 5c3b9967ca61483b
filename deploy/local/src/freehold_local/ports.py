"""Ports on the loopback address: the usual ones where they are free, remembered once chosen."""

import json
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

from freehold_local.errors import StackError
from freehold_local.folders import write_whole

LOOPBACK = "127.0.0.1"

# Below the range from which the kernel takes ports for outgoing connections: a port of ours must
# still be free when its server is restarted.
SPARE_PORTS = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nothing listens on, and that no other stack is given while this process lives.

    Raises:
        StackError: A hundred random ports were all taken.
    """
    for _ in range(100):
        port = secrets.choice(SPARE_PORTS)
        if is_free(port) and _claim(port):
            return port
    raise StackError("No free port was found on 127.0.0.1; something is using up all of them.")


def _claim(port: int) -> bool:
    """Claim a port that is free yet: until its server listens, other stacks may choose theirs.

    The claim is a name in the kernel (unix(7), abstract sockets) and ends with the process.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as claim:
        try:
            claim.bind(f"\0freehold-port-{port}")
        except OSError:
            return False
        # Left open on purpose.
        claim.detach()
    return True


def remembered_ports(file: Path) -> dict[str, int]:
    """The ports chosen last time, by name; none where nothing was chosen yet."""
    try:
        ports: dict[str, int] = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    return ports


def choose_ports(file: Path, usual: Mapping[str, int | None]) -> dict[str, int]:
    """Choose a port for each name and remember the choice.

    Args:
        file: Where the choice is kept.
        usual: For each name its usual port, or None where any free one will do.

    Returns:
        The remembered port where it is still free, else the usual one, else any free one.
    """
    before = remembered_ports(file)
    chosen: dict[str, int] = {}
    for name, usual_port in usual.items():
        wanted = (before.get(name), usual_port)
        port = next(
            (port for port in wanted if port and port not in chosen.values() and is_free(port)),
            None,
        )
        while port is None or port in chosen.values():
            port = free_port()
        chosen[name] = port
    write_whole(file, json.dumps(chosen), mode=0o644)
    return chosen
