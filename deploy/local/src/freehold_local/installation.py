"""The servers' programs on this machine: found, or installed where that is allowed."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from freehold.database.fitness import POSTGRES_VERSIONS
from freehold_local.errors import StackError

LOWEST_POSTGRES, HIGHEST_POSTGRES = POSTGRES_VERSIONS[0], POSTGRES_VERSIONS[-1]
LOWEST_RABBITMQ = "3.10"
LOWEST_PROMETHEUS = "2.40"

POSTGRES_PACKAGE = f"postgresql:{LOWEST_POSTGRES}"
RABBITMQ_PACKAGE = f"rabbitmq-server:{LOWEST_RABBITMQ}"
PROMETHEUS_PACKAGE = f"prometheus:{LOWEST_PROMETHEUS}"

# RabbitMQ's own script: Debian's wrapper on the PATH starts the system's broker.
RABBITMQ_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

INSTALL_TIMEOUT_S = 900


def find_postgres(version: int | None = None) -> Path | None:
    """The folder of the newest usable Postgres' programs.

    Args:
        version: The only major version to accept: a data folder works with no other.

    Returns:
        The folder with ``postgres`` and ``initdb``; None if there is none.
    """
    folders = list(Path("/usr/lib/postgresql").glob("*/bin"))
    if on_path := shutil.which("postgres"):
        folders.append(Path(on_path).resolve().parent)
    usable = {
        folder: major
        for folder in folders
        if (folder / "initdb").exists() and (major := _postgres_version(folder)) is not None
    }
    fitting = [
        folder
        for folder, major in usable.items()
        if (major in POSTGRES_VERSIONS if version is None else major == version)
    ]
    return max(fitting, key=lambda folder: usable[folder], default=None)


def find_rabbitmq() -> Path | None:
    """The script that starts RabbitMQ in the foreground, or None where there is none."""
    if RABBITMQ_SERVER.exists():
        return RABBITMQ_SERVER
    on_path = shutil.which("rabbitmq-server")
    return Path(on_path).resolve() if on_path else None


def find_epmd() -> Path | None:
    """Erlang's port mapper, which comes with Erlang, or None where there is none."""
    if on_path := shutil.which("epmd"):
        return Path(on_path)
    return next(iter(Path("/usr/lib/erlang").glob("erts-*/bin/epmd")), None)


def find_prometheus() -> Path | None:
    """Prometheus, or None where there is none."""
    on_path = shutil.which("prometheus")
    return Path(on_path) if on_path else None


def missing_packages(
    *, postgres: bool = True, rabbitmq: bool = True, prometheus: bool = False
) -> list[str]:
    """The packages that are wanted and missing."""
    missing = []
    if postgres and find_postgres() is None:
        missing.append(POSTGRES_PACKAGE)
    if rabbitmq and (find_rabbitmq() is None or find_epmd() is None):
        missing.append(RABBITMQ_PACKAGE)
    if prometheus and find_prometheus() is None:
        missing.append(PROMETHEUS_PACKAGE)
    return missing


def install_missing(
    say: Callable[[str], None],
    *,
    postgres: bool = True,
    rabbitmq: bool = True,
    prometheus: bool = False,
) -> None:
    """Install the servers' programs that are missing.

    Args:
        say: Called with a message before an installation.
        postgres: Whether Postgres is wanted.
        rabbitmq: Whether RabbitMQ is wanted.
        prometheus: Whether Prometheus is wanted.

    Raises:
        StackError: A program is missing and could not be installed.
    """
    wanted = {"postgres": postgres, "rabbitmq": rabbitmq, "prometheus": prometheus}
    missing = missing_packages(**wanted)
    if not missing:
        return
    prefix = _root_prefix()
    if prefix is None or shutil.which("apt-get") is None:
        raise StackError(_what_to_install(missing))
    say(f"Installing {_names(missing)} from this system's packages; nothing of it is started.")
    script = Path(__file__).with_name("install-servers.sh")
    done = subprocess.run(
        [*prefix, "sh", str(script), *missing],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0 or missing_packages(**wanted):
        last = "\n".join(done.stdout.splitlines()[-15:])
        raise StackError(f"{last}\n\n{_what_to_install(missing)}")


def _postgres_version(folder: Path) -> int | None:
    try:
        answer = subprocess.run(
            [str(folder / "postgres"), "--version"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", answer.stdout)
    return int(match.group(1)) if match else None


def _root_prefix() -> list[str] | None:
    """The words before a command that run it as root without a password; None if impossible."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    asked = subprocess.run(["sudo", "-n", "true"], capture_output=True, timeout=10, check=False)
    return ["sudo", "-n"] if asked.returncode == 0 else None


def _names(packages: Iterable[str]) -> str:
    return " and ".join(package.partition(":")[0] for package in packages)


def _what_to_install(packages: list[str]) -> str:
    lowest = ", ".join(f"{name} {version} or later" for name, version in map(_split, packages))
    instead = {
        POSTGRES_PACKAGE: "FREEHOLD_POSTGRES_URL=… names a server of your own",
        RABBITMQ_PACKAGE: "FREEHOLD_AMQP_URL=… names a broker of your own",
        PROMETHEUS_PACKAGE: "without OBSERVE=1 nothing is watched",
    }
    names = " ".join(name for name, _ in map(_split, packages))
    return (
        f"Missing on this machine: {lowest}.\n"
        f"On Debian or Ubuntu:  sudo apt-get install --no-install-recommends {names}\n"
        f"Or do without: {', '.join(instead[package] for package in packages)} "
        "(deploy/README.md says how)."
    )


def _split(package: str) -> tuple[str, str]:
    name, _, version = package.partition(":")
    return name, version
