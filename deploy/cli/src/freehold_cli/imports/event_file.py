"""A file of events, read line by line. Line numbers are those of an editor."""

import csv
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import orjson

from freehold.contracts.errors import DomainError
from freehold.contracts.imports import ImportLine, RejectedLine
from freehold.http.bodies import field_errors
from freehold.http.lines import Line, Lines, cut_off, read_event, rejected, too_long
from freehold_cli.errors import CliError, ExitCode

_PIECE_BYTES = 2**18
_METADATA = "metadata."
# As JSON has it (RFC 8259, section 6), so that CSV and NDJSON take the same amounts.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,99})", re.ASCII)
_NO_INTEGER = (
    "amount_minor must be a whole number of minor units, written like 100 or -100: digits alone,"
    " without spaces, separators, leading zeros, decimals or a plus sign"
)
_LOOKED_AT_BYTES = 4_096
_SIGNATURES = (
    (b"\x1f\x8b", "gzip", "unpack it with gunzip"),
    (b"\x28\xb5\x2f\xfd", "zstd", "unpack it with unzstd"),
    (b"BZh", "bzip2", "unpack it with bunzip2"),
    (b"\xfd7zXZ", "xz", "unpack it with unxz"),
    (b"PK\x03\x04", "a ZIP archive or a spreadsheet", "unpack it, or save it as CSV in UTF-8"),
    (b"\xff\xfe", "UTF-16", "convert it to UTF-8"),
    (b"\xfe\xff", "UTF-16", "convert it to UTF-8"),
)


class Format(StrEnum):
    """How events are written in a file."""

    NDJSON = "ndjson"
    CSV = "csv"


_SUFFIXES = {".ndjson": Format.NDJSON, ".jsonl": Format.NDJSON, ".csv": Format.CSV}


def format_of(path: Path) -> Format:
    """Find a file's format by its name; standard input is NDJSON.

    Raises:
        CliError: The name does not say.
    """
    found = Format.NDJSON if str(path) == "-" else _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise CliError(
            f"The name {path.name} does not say the format: add --format ndjson or --format csv.",
            ExitCode.USAGE,
        )
    return found


class EventFile:
    """A file of events, read once from its beginning to its end."""

    def __init__(self, stream: BinaryIO, written_as: Format) -> None:
        self._stream = stream
        self._format = written_as
        self.bytes_read = 0
        self.open_row: int | None = None
        """The last row of CSV, where it has no line break: its last cell may be cut off."""

    @property
    def size(self) -> int | None:
        """The bytes of a regular file; None for a pipe or a device."""
        state = _state(self._stream)
        return None if state is None else state[0]

    def __iter__(self) -> Iterator[Line | RejectedLine]:
        """Give each line that is not empty as JSON, or as rejected with the reason.

        Raises:
            CliError: The file cannot be read, changes meanwhile, is no text, has not the columns
                that events have, or holds no event.
        """
        lines = (line for line in self._lines() if not line.is_empty)
        convert = _as_it_is
        if self._format is Format.CSV:
            header = next(lines, None)
            if header is None:
                raise CliError("There is nothing in the file, not even a header.", ExitCode.USAGE)
            convert = _Columns(header).as_json
        first = next(lines, None)
        if first is None and self._format is Format.CSV:
            raise CliError(
                "There are no rows in the file, only its header. Nothing was imported.",
                ExitCode.REJECTED,
            )
        if first is None:
            raise CliError("There is no event in the file.", ExitCode.USAGE)
        yield from map(convert, chain([first], lines))

    def _lines(self) -> Iterator[Line]:
        lines = Lines()
        try:
            before = _state(self._stream)
            while piece := self._stream.read(_PIECE_BYTES):
                if not self.bytes_read:
                    _require_text(piece)
                self.bytes_read += len(piece)
                yield from lines.feed(piece)
            last = next(lines.end(), None)
            changed = _state(self._stream) != before
        except OSError as error:
            raise CliError(f"The file cannot be read: {error.strerror or error}") from error
        if changed:
            raise CliError(
                "The file changed while it was read. Import it again when it is complete."
            )
        if last is not None:
            self.open_row = last.number if self._format is Format.CSV else None
            yield last


def _state(stream: BinaryIO) -> tuple[int, int] | None:
    """Size and time of change of a regular file; None for a pipe or a device."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


def _require_text(start: bytes) -> None:
    """Check by its first bytes that a file is text.

    Raises:
        CliError: It is packed, in UTF-16, has NUL bytes, or its lines end with CR alone.
    """
    for signature, name, remedy in _SIGNATURES:
        if start.startswith(signature):
            raise CliError(f"The file is {name}, not lines of text: {remedy}.", ExitCode.USAGE)
    if b"\0" in start[:_LOOKED_AT_BYTES]:
        raise CliError(
            "The file holds NUL bytes, so it is not text in UTF-8. Is it UTF-16? Convert it with"
            " iconv, for instance.",
            ExitCode.USAGE,
        )
    if b"\n" not in start and b"\r" in start.rstrip():
        raise CliError(
            "The file's lines end with a carriage return (CR) alone. Convert them to end with a"
            " line feed (LF).",
            ExitCode.USAGE,
        )


class _Columns:
    """The columns of a CSV file, by its header."""

    def __init__(self, header: Line) -> None:
        names = _cells(header)
        if isinstance(names, RejectedLine):
            raise CliError(f"The header: {names.errors[0].detail}", ExitCode.USAGE)
        known = set(ImportLine.model_fields) - {"metadata"}
        unknown = [name for name in names if name not in known and not _metadata_key(name)]
        needed = {name for name, field in ImportLine.model_fields.items() if field.is_required()}
        for what, found in (
            ("is unknown", unknown),
            ("stands twice", [name for name, count in Counter(names).items() if count > 1]),
            ("is missing", sorted(needed - set(names))),
        ):
            if found:
                raise CliError(
                    f"The header has a fault: {', '.join(map(repr, found))} {what}. "
                    f"Columns are {', '.join(known)}, and {_METADATA}<key> for each metadata key.",
                    ExitCode.USAGE,
                )
        self._names = names

    def as_json(self, line: Line) -> Line | RejectedLine:
        """Write a row as an event. Its cells are checked later, by the event's rules."""
        cells = _cells(line)
        if isinstance(cells, RejectedLine):
            return cells
        if len(cells) < len(self._names) and line.is_open:
            lacking = f"{len(cells)} of {len(self._names)} cells"
            return rejected(line.number, cut_off(lacking))
        if len(cells) != len(self._names):
            return _fault(line, f"the row has {len(cells)} cells and the header {len(self._names)}")
        event: dict[str, object] = {}
        metadata: dict[str, str] = {}
        for name, cell in zip(self._names, cells, strict=True):
            if not cell:
                continue
            if key := _metadata_key(name):
                metadata[key] = cell
            elif name == "amount_minor":
                if not _INTEGER.fullmatch(cell):
                    return rejected(line.number, field_errors([(f"/{name}", _NO_INTEGER)]))
                # As a fragment: the event's rules refuse integers of more than 64 bits.
                event[name] = orjson.Fragment(cell)
            else:
                event[name] = cell
        if metadata:
            event["metadata"] = metadata
        return Line(line.number, orjson.dumps(event))


def _as_it_is(line: Line) -> Line | RejectedLine:
    if line.text is None:
        return rejected(line.number, too_long())
    if line.is_open:
        # The last line, which may be cut off. The server sees it with a line feed.
        try:
            read_event(line)
        except DomainError as error:
            return rejected(line.number, error)
    return line


def _cells(line: Line) -> list[str] | RejectedLine:
    if line.text is None:
        return rejected(line.number, too_long())
    try:
        # A row is one line: no text of an event may hold a line break.
        (cells,) = csv.reader([line.text.decode().removesuffix("\r")], strict=True)
    except UnicodeDecodeError:
        if line.is_open:
            return rejected(line.number, cut_off("in the middle of a character"))
        return _fault(line, "the row is not UTF-8")
    except csv.Error as error:
        if line.is_open:
            return rejected(line.number, cut_off(str(error)))
        return _fault(line, f"the row is not CSV: {error}")
    return cells


def _fault(line: Line, detail: str) -> RejectedLine:
    return rejected(line.number, field_errors([("", detail)]))


def _metadata_key(column: str) -> str | None:
    return column.removeprefix(_METADATA) or None if column.startswith(_METADATA) else None
