"""Reading a file of events, a line at a time, with the numbers that its lines have in an editor."""

import csv
import re
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import orjson

from freehold.contracts.imports import ImportLine, RejectedLine
from freehold.service.bodies import field_errors
from freehold.service.lines import Line, Lines, rejected, too_long
from freehold_cli.errors import CliError, ExitCode

_PIECE_BYTES = 2**18
_METADATA = "metadata."
_INTEGER = re.compile(r"[+-]?[0-9]{1,30}", re.ASCII)


class Format(StrEnum):
    """How events are written in a file."""

    NDJSON = "ndjson"
    CSV = "csv"


_SUFFIXES = {".ndjson": Format.NDJSON, ".jsonl": Format.NDJSON, ".csv": Format.CSV}


def format_of(path: Path) -> Format:
    """Tell a file's format from its name; standard input is NDJSON.

    Raises:
        CliError: The name does not tell.
    """
    found = Format.NDJSON if str(path) == "-" else _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise CliError(
            f"The name {path.name} does not tell the format: add --format ndjson or --format csv.",
            ExitCode.USAGE,
        )
    return found


class EventFile:
    """A file of events, read once from its beginning to its end."""

    def __init__(self, stream: BinaryIO, written_as: Format) -> None:
        self._stream = stream
        self._format = written_as
        self.bytes_read = 0

    def __iter__(self) -> Iterator[Line | RejectedLine]:
        """Give each line that is not empty as JSON, or the reason why it cannot be.

        Raises:
            CliError: The file cannot be read, or has not the columns that events have.
        """
        lines = (line for line in self._lines() if not line.is_empty)
        if self._format is Format.CSV:
            first = next(lines, None)
            if first is None:
                return
            columns = _Columns(first)
            converted = map(columns.as_json, lines)
        else:
            converted = map(_as_it_is, lines)
        yield from converted

    def _lines(self) -> Iterator[Line]:
        lines = Lines()
        try:
            while piece := self._stream.read(_PIECE_BYTES):
                self.bytes_read += len(piece)
                yield from lines.feed(piece)
        except OSError as error:
            raise CliError(f"The file cannot be read: {error}") from error
        yield from lines.end()


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
        """Write a row as an event; what is wrong in its cells is for the event's rules to say."""
        cells = _cells(line)
        if isinstance(cells, RejectedLine):
            return cells
        if len(cells) != len(self._names):
            return _fault(line, f"the row has {len(cells)} cells and the header {len(self._names)}")
        event: dict[str, object] = {}
        metadata: dict[str, str] = {}
        for name, cell in zip(self._names, cells, strict=True):
            if not cell:
                continue
            if key := _metadata_key(name):
                metadata[key] = cell
            elif name == "amount_minor" and _INTEGER.fullmatch(cell):
                # As a fragment: an integer of more than 64 bits is to be refused as one.
                event[name] = orjson.Fragment(str(int(cell)))
            else:
                event[name] = cell
        if metadata:
            event["metadata"] = metadata
        return Line(line.number, orjson.dumps(event))


def _as_it_is(line: Line) -> Line | RejectedLine:
    return line if line.text is not None else rejected(line.number, too_long())


def _cells(line: Line) -> list[str] | RejectedLine:
    if line.text is None:
        return rejected(line.number, too_long())
    try:
        # A row is one line: no text of an event may hold a line break.
        (cells,) = csv.reader([line.text.decode().removesuffix("\r")], strict=True)
    except UnicodeDecodeError:
        return _fault(line, "the row is not UTF-8")
    except csv.Error as error:
        return _fault(line, f"the row is not CSV: {error}")
    return cells


def _fault(line: Line, detail: str) -> RejectedLine:
    return rejected(line.number, field_errors([("", detail)]))


def _metadata_key(column: str) -> str | None:
    return column.removeprefix(_METADATA) or None if column.startswith(_METADATA) else None
