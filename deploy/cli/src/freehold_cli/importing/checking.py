"""The dry run: every rule that can be held to without the ledger, and nothing is sent."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice

from freehold.contracts.imports import REJECTED_SHOWN_MAX, RejectedLine
from freehold.contracts.problems import DUPLICATE_EXTERNAL_ID, Problem
from freehold.service.lines import Line, read_event, rejected
from freehold_cli.importing.tally import Tally

_BATCH = 10_000


class Check:
    """Holds a file's lines to the rules and finds the external ids that stand twice.

    The ids are kept in a temporary database, on disk where they are many: a file of any size is
    checked in little memory.
    """

    def __init__(self, seen: sqlite3.Connection, tally: Tally) -> None:
        self._seen = seen
        self._tally = tally
        self._waiting: list[tuple[str, int]] = []

    def add(self, entry: Line | RejectedLine) -> None:
        """Check a line."""
        if isinstance(entry, RejectedLine):
            self._tally.reject([entry], 1)
            return
        try:
            event = read_event(entry)
        except Problem as problem:
            self._tally.reject([rejected(entry.number, problem)], 1)
            return
        self._tally.accepted += 1
        self._waiting.append((event.external_id, entry.number))
        if len(self._waiting) >= _BATCH:
            self._keep()

    def finish(self) -> list[RejectedLine]:
        """Count the lines that repeat an earlier one, and give the first of them."""
        self._keep()
        repeats = self._seen.execute(
            "SELECT line, first_line FROM (SELECT line, min(line) OVER same AS first_line FROM seen"
            " WINDOW same AS (PARTITION BY external_id)) WHERE line > first_line ORDER BY line"
        )
        shown = [
            rejected(
                line,
                Problem(DUPLICATE_EXTERNAL_ID, f"the external_id stands on line {first} already"),
            )
            for line, first in islice(repeats, REJECTED_SHOWN_MAX)
        ]
        self._tally.duplicates = len(shown) + sum(1 for _ in repeats)
        self._tally.accepted -= self._tally.duplicates
        return shown

    def _keep(self) -> None:
        self._seen.executemany("INSERT INTO seen VALUES (?, ?)", self._waiting)
        self._waiting.clear()


@contextmanager
def checking(tally: Tally) -> Iterator[Check]:
    """Have a check for a while."""
    # An empty name is a temporary database, which SQLite keeps in memory up to its cache's size.
    with closing(sqlite3.connect("")) as seen:
        # Should the check end early, nobody wants it back.
        seen.execute("PRAGMA journal_mode = OFF")
        seen.execute("PRAGMA synchronous = OFF")
        seen.execute("CREATE TABLE seen (external_id TEXT, line INTEGER)")
        yield Check(seen, tally)
