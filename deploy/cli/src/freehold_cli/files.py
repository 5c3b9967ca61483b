"""Files that are written whole or not at all.

The content goes to a temporary file beside it, of mode 0600, which is renamed when it is complete.
"""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from freehold_cli.errors import CliError, ExitCode
from freehold_cli.streams import output_faults

STDOUT = Path("-")


@contextmanager
def writing(file: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Give a stream that becomes the file at the end of the block, unless an error comes before.

    Raises:
        CliError: The file exists already, or cannot be written.
    """
    if file == STDOUT:
        with output_faults():
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        return
    if not overwrite:
        _require_new(file)
    partial = file.with_name(f".{file.name}.{secrets.token_hex(4)}.partial")
    with _faults(file):
        try:
            with _new_private(partial) as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            if not overwrite:
                _require_new(file)
            partial.replace(file)
            _sync_folder(file.parent)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def _faults(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CliError(f"{file} cannot be written: {error.strerror or error}") from error


def _require_new(file: Path) -> None:
    if file.exists():
        raise CliError(
            f"{file} exists. Name another with --output, or add --overwrite.", ExitCode.USAGE
        )


def _new_private(file: Path) -> BinaryIO:
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
