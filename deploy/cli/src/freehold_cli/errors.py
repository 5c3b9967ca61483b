"""How a command ends: its exit code, and what a person is told where it went wrong."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's end means to whoever called it."""

    DONE = 0
    REJECTED = 1
    USAGE = 2
    FAILED = 3
    INTERRUPTED = 130


class CliError(Exception):
    """Something keeps a command from doing what was asked.

    The message is shown to the person as it is, so it says what to do next.
    """

    def __init__(self, message: str, exit_code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
