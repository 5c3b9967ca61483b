"""Standard streams whose write errors end the command with one line.

The exit code is 3 for a full disk, and 141, without a message, for a pipe that is closed at the
other end. A failure of stderr is ignored.
"""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, TypedDict

from freehold_cli.errors import CliError, ExitCode


class OutputError(CliError):
    """A result cannot be written.

    Args:
        error: Why.
    """

    def __init__(self, error: OSError) -> None:
        is_quiet = error.errno == errno.EPIPE
        super().__init__(
            "" if is_quiet else f"The result cannot be written: {error.strerror or error}.",
            ExitCode.PIPE_CLOSED if is_quiet else ExitCode.FAILED,
        )
        self.reason = error.strerror or str(error)


@contextmanager
def output_faults() -> Iterator[None]:
    """Turn errors of stdout into OutputError.

    Raises:
        OutputError: Stdout cannot be written.
    """
    try:
        yield
    except OSError as error:
        _leave(sys.stdout)
        raise OutputError(error) from error


def guard_streams() -> None:
    """Replace stdout and stderr by such streams, and a closed stdin by an empty one."""
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BytesIO())
    sys.stdout = _Results(_writer(sys.stdout), **_manner(sys.stdout))
    sys.stderr = _Remarks(_writer(sys.stderr), **_manner(sys.stderr))


class _Results(io.TextIOWrapper):
    def write(self, text: str, /) -> int:
        with output_faults():
            return super().write(text)

    def flush(self) -> None:
        with output_faults():
            super().flush()


class _Remarks(io.TextIOWrapper):
    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError:
            _leave(self)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            _leave(self)


class _Closed(io.RawIOBase):
    """Replaces a stream that was closed before the command began. Only the first write fails."""

    _has_failed = False

    def writable(self) -> bool:
        return True

    def write(self, part: Any, /) -> int:
        if self._has_failed:
            return len(part)
        self._has_failed = True
        raise OSError(errno.EBADF, "it is closed")


class _Manner(TypedDict):
    encoding: str
    errors: str
    line_buffering: bool


def _manner(stream: TextIO | None) -> _Manner:
    # Characters that the encoding lacks are escaped.
    encoding = "utf-8" if stream is None else stream.encoding
    return {"encoding": encoding, "errors": "backslashreplace", "line_buffering": True}


def _writer(stream: TextIO | None) -> io.BufferedWriter:
    if stream is None:
        return io.BufferedWriter(_Closed())
    return io.BufferedWriter(io.FileIO(stream.fileno(), "w", closefd=False))


def _leave(stream: TextIO) -> None:
    """Redirect a stream to /dev/null: its buffer would fail again when Python ends."""
    with suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
