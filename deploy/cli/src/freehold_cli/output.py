"""Where a command writes: results to stdout, everything else to stderr."""

import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

# In a pipe no line is wrapped: a script may search for a part of one.
out = Console(width=None if sys.stdout is not None and sys.stdout.isatty() else 400)
errors = Console(stderr=True)


# Control characters, and those that change the direction of text (Unicode Standard Annex 9,
# section 2). A name with one of them would change how its row looks.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""Escape the characters that a terminal obeys or does not show, as in \u202e."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def write_message(text: str) -> None:
    """Print a remark on stderr."""
    errors.print(visible(text), markup=False, highlight=False, soft_wrap=True)


def write_error(text: str) -> None:
    """Print an error on stderr."""
    errors.print(visible(text), style="red", markup=False, highlight=False, soft_wrap=True)


def write_json(document: Mapping[str, Any]) -> None:
    """Print a result for another program."""
    out.file.write(to_json(document, indent=2) + "\n")
    out.file.flush()


def write_json_line(document: Mapping[str, Any]) -> None:
    """Print a line of NDJSON for another program."""
    out.file.write(to_json(document) + "\n")


def to_json(document: Mapping[str, Any], *, indent: int | None = None) -> str:
    """Write a document as JSON. A balance may have more digits than orjson takes."""
    return json.dumps(document, indent=indent, ensure_ascii=False)


def write_line(text: str) -> None:
    """Print a result for a person, on one line."""
    out.print(visible(text), markup=False, highlight=False, soft_wrap=True)


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table for a person."""
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(_cell, row))
    if table.row_count:
        out.print(table)
    else:
        write_message("There are none.")


def write_list(
    found: dict[str, Any],
    columns: Mapping[str, str | Callable[[dict[str, Any]], object]],
    *,
    as_json: bool,
) -> None:
    """Print a list that tenant-manager answered: as JSON, or as a table for a person.

    Args:
        found: The answer; its entries are in `data`.
        columns: For each column its field, or a function of the entry. Fields `…_at` are times.
        as_json: Whether it is for another program.
    """
    if as_json:
        write_json(found)
        return
    write_table(
        list(columns),
        ([_shown(entry, field) for field in columns.values()] for entry in found["data"]),
    )


def _shown(entry: dict[str, Any], field: str | Callable[[dict[str, Any]], object]) -> object:
    if callable(field):
        return field(entry)
    value = entry.get(field)
    return shown_time(value) if field.endswith("_at") else value


def write_facts(facts: Mapping[str, object]) -> None:
    """Print the facts about one thing for a person, without those that are None."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    # A credential or a hash may not be cut.
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None:
            table.add_row(_cell(name.replace("_", " ")), _cell(value))
    out.print(table)


def shown_time(moment: str | None) -> str | None:
    """Shorten a time of the server to seconds."""
    return None if moment is None else moment.partition(".")[0].removesuffix("Z") + "Z"


def shown_size(size: int | None) -> str | None:
    """Write a number of bytes with its unit."""
    return None if size is None else decimal(size)


class Pacing:
    """Lets a line through every five seconds, where no terminal shows a bar."""

    EVERY_S = 5.0

    def __init__(self) -> None:
        self._last = time.monotonic()

    def is_due(self) -> bool:
        """Whether it is time for the next line, which is printed then."""
        now = time.monotonic()
        if now - self._last < self.EVERY_S:
            return False
        self._last = now
        return True


def shown(value: object) -> str:
    """Write a value for a person, without what a terminal obeys."""
    match value:
        case None:
            text = "-"
        case bool():
            text = "yes" if value else "no"
        case int():
            text = f"{value:,}"
        case dict() | list():
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        case _:
            text = str(value)
    return visible(text)


def _cell(value: object) -> Text:
    # As text: square brackets in a name are no markup.
    return Text(shown(value))
