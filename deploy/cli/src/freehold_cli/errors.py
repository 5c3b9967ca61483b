"""How a command ends: its exit code, and what a person is told where it went wrong."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any


class ExitCode(IntEnum):
    """What a command's end means to whoever called it."""

    DONE = 0
    REJECTED = 1
    """It was carried out and came to no good end: lines rejected, faults found, a failure."""
    USAGE = 2
    FAILED = 3
    INTERRUPTED = 130


class CliError(Exception):
    """Something keeps a command from doing what was asked.

    The message is shown to the person as it is, so it says what to do next.

    Args:
        message: What is shown.
        exit_code: How the command ends.
        problem: The server's own words, where it is a server that refused.
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
    """Nobody answered, or one who has too much to do now: asking again may do."""
