"""The lines of an import, out of pieces of any size, in the memory of one line."""

from collections.abc import Iterator
from typing import NamedTuple

from freehold.contracts.errors import DomainError
from freehold.contracts.imports import ERRORS_A_LINE_MAX, LINE_BYTES_MAX, ImportLine, RejectedLine
from freehold.contracts.problems import FieldError
from freehold.http.bodies import field_errors, parse
from freehold.http.catalogue import CATALOGUE
from freehold.http.errors import MalformedJson

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line, without its line feed."""

    number: int
    text: bytes | None
    """None if it is too long."""
    is_open: bool = False
    """Whether the body ended before a line feed: the line may be complete or cut off."""

    @property
    def is_empty(self) -> bool:
        """Whether it has only white space."""
        return self.text is not None and not self.text.strip()


class Lines:
    """Splits bytes into lines.

    A line feed ends a line, and so does the end of the body. A carriage return before it is white
    space, which JSON allows. A byte order mark at the start is removed.
    """

    def __init__(self) -> None:
        self.count = 0
        """Lines that have ended so far."""
        self._begun = bytearray()
        self._is_too_long = False

    def feed(self, piece: bytes) -> Iterator[Line]:
        """Split off the lines that end in this piece."""
        *ends, rest = piece.split(b"\n")
        for end in ends:
            yield self._line(end)
        self._keep(rest)

    def end(self) -> Iterator[Line]:
        """Give the last line, if no line feed ended it."""
        if self._begun or self._is_too_long:
            yield self._line(b"")._replace(is_open=True)

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
    """Parse the event on a line.

    Raises:
        MalformedJson, ValidationFailed: It is not one.
    """
    if line.text is None:
        raise too_long()
    try:
        return parse(ImportLine, line.text, whole="the line", errors_max=ERRORS_A_LINE_MAX)
    except DomainError as error:
        if line.is_open and isinstance(error, MalformedJson):
            raise cut_off(error.detail) from None
        raise


def cut_off(detail: str) -> DomainError:
    """Make the error of an incomplete last line.

    Args:
        detail: What is missing.
    """
    return MalformedJson(
        f"this is the last line and it is cut off ({detail}): send the whole of it again"
    )


def too_long() -> DomainError:
    """Make the error of a line that is too long."""
    return field_errors([("", f"the line must have at most {LINE_BYTES_MAX} bytes")])


def rejected(number: int, error: DomainError) -> RejectedLine:
    """Report a line that added nothing, and why."""
    errors = error.errors or [FieldError(pointer="", detail=error.detail)]
    return RejectedLine(
        line=number,
        type=CATALOGUE[type(error)].uri,
        errors=errors[:ERRORS_A_LINE_MAX],
        external_id=error.facts.get("external_id"),
        existing_event_id=error.facts.get("existing_event_id"),
    )
