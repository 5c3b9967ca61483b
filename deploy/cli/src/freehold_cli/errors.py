"""Exit codes, and errors with a message for a person."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """The exit codes of a command."""

    DONE = 0
    REJECTED = 1
    """Carried out with a bad result: lines rejected, faults found, an operation failed."""
    USAGE = 2
    FAILED = 3
    INTERRUPTED = 130
    PIPE_CLOSED = 141
    """The reader of stdout has gone: 128 + SIGPIPE."""


class CliError(Exception):
    """A command cannot do what was asked. The message is shown as it is, and says what to do next.

    Args:
        message: The text that is shown.
        exit_code: The exit code of the command.
        problem: The server's problem document, where a server refused.
    """

    def __init__(
        self,
        message: str,
        exit_code: ExitCode = ExitCode.FAILED,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.problem = problem


class UnansweredError(CliError):
    """No answer, or a temporary refusal: the same request may succeed later."""
