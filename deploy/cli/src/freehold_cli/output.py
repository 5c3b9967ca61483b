"""Where a command writes: results go to stdout, and all that is said meanwhile to stderr."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

# Lines in a pipe are as long as they are: who reads them there may look for a part of one.
out = Console(width=None if sys.stdout.isatty() else 400)
errors = Console(stderr=True)


def tell(text: str) -> None:
    """Say something to the person, between the results."""
    errors.print(text, markup=False, highlight=False, soft_wrap=True)


def tell_error(text: str) -> None:
    """Say what went wrong."""
    errors.print(text, style="red", markup=False, highlight=False, soft_wrap=True)


def write_json(document: Mapping[str, Any]) -> None:
    """Write a result for another program."""
    out.file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def write_line(text: str) -> None:
    """Write a result for a person, on a line that is as long as it is."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a list for a person."""
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*map(_cell, row))
    if table.row_count:
        out.print(table)
    else:
        tell("There are none.")


def write_facts(facts: Mapping[str, object]) -> None:
    """Write what is known of one thing, for a person; what is not known is left out."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    # A credential or a hash that is cut or folded is none.
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None:
            table.add_row(Text(name.replace("_", " ")), _cell(value))
    out.print(table)


def shown_time(moment: str | None) -> str | None:
    """Show one of the server's times to the second."""
    return None if moment is None else moment.partition(".")[0].removesuffix("Z") + "Z"


def shown_size(size: int | None) -> str | None:
    """Show a number of bytes."""
    return None if size is None else decimal(size)


def _cell(value: object) -> Text:
    match value:
        case None:
            shown = "-"
        case bool():
            shown = "yes" if value else "no"
        case int():
            shown = f"{value:,}"
        case dict() | list():
            shown = orjson.dumps(value).decode()
        case _:
            shown = str(value)
    # As text: what stands in square brackets is somebody's name, and no markup.
    return Text(shown)
