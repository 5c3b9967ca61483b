"""Files and folders of the stack: private, written whole, and reachable by the servers' users.

A server's user must be able to enter the folders above its data. A checkout under a closed home
(``/root``) does not allow that: then the data is elsewhere, and a symbolic link leads to it.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from freehold_local.accounts import Account, run_as
from freehold_local.errors import StackError
from freehold_local.waiting import wait_until

CHECKOUT = Path(__file__).resolve().parents[4]
OUTSIDE = Path("/var/lib/freehold-local")
LOCK_TIMEOUT_S = 60


def write_whole(path: Path, text: str, *, mode: int, group: int = -1) -> None:
    """Replace a file atomically: after a crash it is the old one or the new one.

    Args:
        path: The file to write.
        text: All of its text.
        mode: Its permission bits, set before any text is in it.
        group: The group that owns it; -1 for the present one.
    """
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            os.fchown(file.fileno(), -1, group)
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)
    except PermissionError:
        raise
    except OSError as error:
        new.unlink(missing_ok=True)
        raise StackError(f"{path} cannot be written: {error.strerror}.") from error


def make_state(state: Path) -> None:
    """Make the folder of a stack.

    Root's has mode 0711: the servers' users pass through it to their data.
    """
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() == 0:
        state.chmod(0o711)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder, so that no other command starts or stops its stack meanwhile.

    Raises:
        StackError: Another command held the lock for a minute.
    """
    with (folder / "lock").open("w") as file:

        def is_ours() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        try:
            wait_until(is_ours, timeout_s=LOCK_TIMEOUT_S)
        except TimeoutError:
            raise StackError(
                f"Another command is starting or stopping the stack in {folder}: wait for it."
            ) from None
        yield


def settle(folder: Path, account: Account | None) -> Path:
    """Make a server's folder where its user can reach it.

    Args:
        folder: The wanted path.
        account: The server's user; None for the present one.

    Returns:
        The real path; ``folder`` is a link to it if it had to be elsewhere.

    Raises:
        StackError: ``folder`` has data that the user cannot reach, or is a copied link to another
            checkout's data.
    """
    if folder.is_symlink():
        return _claim(folder, folder.readlink())
    make_state(folder.parent)
    folder.mkdir(mode=0o755, exist_ok=True)
    folder.chmod(0o755)
    if account is None or _reaches(account, folder):
        return folder.resolve()
    if any(folder.iterdir()):
        raise StackError(
            f"The user {account.name!r} cannot reach {folder}, which holds its data.\n"
            "Let others walk through the folders above it (chmod o+x), or move the checkout back."
        )
    return _settle_outside(folder)


def discard(folder: Path) -> None:
    """Delete a server's folder, also where it is a link."""
    if folder.is_symlink():
        shutil.rmtree(folder.readlink().parent, ignore_errors=True)
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _reaches(account: Account, folder: Path) -> bool:
    answer = run_as(account, ["test", "-x", str(folder)], cwd=Path("/"), timeout_s=10)
    return answer.returncode == 0


def _claim(folder: Path, real: Path) -> Path:
    real.mkdir(mode=0o755, parents=True, exist_ok=True)
    note = real.parent / "belongs-to"
    other = Path(note.read_text().strip()) if note.exists() else folder
    if other != folder and other.is_symlink() and other.readlink() == real:
        raise StackError(
            f"{folder} leads to {real}, which is the data of {other}.\n"
            f"Remove the link to start afresh:  rm {folder}"
        )
    write_whole(note, f"{folder}\n", mode=0o644)
    return real


def _settle_outside(folder: Path) -> Path:
    OUTSIDE.mkdir(mode=0o755, parents=True, exist_ok=True)
    OUTSIDE.chmod(0o755)
    # A new folder each time: data of an earlier checkout at the same path must not come back.
    outside = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=OUTSIDE))
    outside.chmod(0o755)
    real = outside / folder.name
    real.mkdir(mode=0o755)
    real.chmod(0o755)
    folder.rmdir()
    folder.symlink_to(real)
    return _claim(folder, real)
