"""Lines out of bytes that come in pieces of any size, in no more memory than one line needs."""

from collections.abc import Iterator
from typing import NamedTuple

from freehold.contracts.imports import (
    ERRORS_A_LINE_MAX,
    LINE_BYTES_MAX,
    ImportLine,
    RejectedLine,
)
from freehold.contracts.problems import FieldError, Problem
from freehold.service.bodies import field_errors, parse

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line, without its line feed."""

    number: int
    text: bytes | None
    """None where it is too long to be kept."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing on it but white space."""
        return self.text is not None and not self.text.strip()


class Lines:
    """Cuts what it is fed into lines.

    A line feed ends a line, and so does the end; a carriage return before it is white space, which
    JSON allows. A byte order mark at the very start is left out.
    """

    def __init__(self) -> None:
        self.count = 0
        """How many lines have ended so far."""
        self._begun = bytearray()
        self._is_too_long = False

    def feed(self, piece: bytes) -> Iterator[Line]:
        """Give the lines that end in this piece."""
        *ends, rest = piece.split(b"\n")
        for end in ends:
            yield self._line(end)
        self._keep(rest)

    def end(self) -> Iterator[Line]:
        """Give the last line, where no line feed ended it."""
        if self._begun or self._is_too_long:
            yield self._line(b"")

    def _line(self, end: bytes) -> Line:
        if self._begun or self._is_too_long:
            self._keep(end)
            end = bytes(self._begun)
        is_too_long = self._is_too_long or len(end) > LINE_BYTES_MAX
        self._begun.clear()
        self._is_too_long = False
        self.count += 1
        if self.count == 1:
            end = end.removeprefix(_BYTE_ORDER_MARK)
        return Line(self.count, None if is_too_long else end)

    def _keep(self, part: bytes) -> None:
        if self._is_too_long or len(self._begun) + len(part) > LINE_BYTES_MAX:
            self._is_too_long = True
            self._begun.clear()
        else:
            self._begun += part


def read_event(line: Line) -> ImportLine:
    """Read the event on a line.

    Raises:
        Problem: malformed-json, or validation-failed with every broken rule.
    """
    if line.text is None:
        raise too_long()
    return parse(ImportLine, line.text)


def too_long() -> Problem:
    """Make the problem of a line that is too long to be kept."""
    return field_errors([("", f"a line may have at most {LINE_BYTES_MAX} bytes")])


def rejected(number: int, problem: Problem) -> RejectedLine:
    """Say of a line that it added nothing, and why."""
    errors = problem.members.get("errors") or [{"pointer": "", "detail": problem.detail}]
    return RejectedLine(
        line=number,
        type=problem.kind.uri,
        errors=[FieldError(**error) for error in errors[:ERRORS_A_LINE_MAX]],
    )
