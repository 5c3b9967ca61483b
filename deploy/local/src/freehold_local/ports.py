"""Choice of ports on the loopback address."""

import json
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

from freehold_local.errors import StackError
from freehold_local.folders import write_whole

LOOPBACK = "127.0.0.1"

# Below the kernel's range for outgoing connections: a port must still be free when its server is
# restarted.
SPARE_PORTS = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    return why_not(port) is None


def why_not(port: int) -> str | None:
    """Why no server can listen on this port now; None if one can."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            return error.strerror
    return None


def free_port() -> int:
    """A free port that no other stack chooses while this process lives.

    Raises:
        StackError: A hundred random ports were all taken.
    """
    for _ in range(100):
        port = secrets.choice(SPARE_PORTS)
        if is_free(port) and _claim(port):
            return port
    raise StackError("No free port was found on 127.0.0.1; something is using up all of them.")


def _claim(port: int) -> bool:
    """Claim a port until its server listens, so that no other stack chooses it.

    The claim is an abstract socket (unix(7)), and ends with the process.
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
    """The ports chosen last time, by name.

    Raises:
        StackError: The file was not written by this program.
    """
    try:
        ports: dict[str, int] = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StackError(
            f"{file} cannot be read: {error}.\nRemove it, and ports are chosen anew."
        ) from error
    return ports


def remember_ports(file: Path, ports: Mapping[str, int]) -> None:
    """Save the chosen ports, by name."""
    write_whole(file, json.dumps(dict(ports)), mode=0o644)


def choose_ports(file: Path, usual: Mapping[str, int | None]) -> dict[str, int]:
    """Choose a port for each name, and save the choice.

    Args:
        file: The file with the choice.
        usual: For each name its usual port, or None.

    Returns:
        For each name the first that is free: the port chosen last time, the usual one, any.
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
    remember_ports(file, chosen)
    return chosen
