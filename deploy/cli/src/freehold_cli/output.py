"""Where a command writes: results go to stdout, and all that is said meanwhile to stderr."""

import sys
from collections.abc import Mapping
from typing import Any

import orjson
from rich.console import Console

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
