"""The dry run: checks every rule that needs no ledger, and sends nothing."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import orjson

from freehold.contracts.errors import DomainError, DuplicateExternalId
from freehold.contracts.events import NewEvent
from freehold.contracts.facts import Fact, differing
from freehold.contracts.fields import not_reserved
from freehold.contracts.imports import REJECTED_SHOWN_MAX, ImportLine, RejectedLine
from freehold.contracts.problems import FieldError
from freehold.http.bodies import field_errors, pointer
from freehold.http.lines import Line, read_event, rejected
from freehold_cli.errors import CliError
from freehold_cli.imports.tally import Tally

_BATCH = 10_000


class Check:
    """Checks each line, and finds external ids that occur twice.

    The events are kept in a temporary SQLite database, which goes to disk when it is large: memory
    stays small for a file of any size.
    """

    def __init__(self, seen: sqlite3.Connection, tally: Tally) -> None:
        self._seen = seen
        self._tally = tally
        self._waiting: list[tuple[str, int, bytes]] = []

    def add(self, entry: Line | RejectedLine) -> None:
        """Check a line."""
        if isinstance(entry, RejectedLine):
            self._tally.reject([entry], 1)
            return
        try:
            event = read_event(entry)
            _require_own_type(event)
        except DomainError as error:
            self._tally.reject([rejected(entry.number, error)], 1)
            return
        self._tally.accepted += 1
        self._waiting.append((event.external_id, entry.number, event.model_dump_json().encode()))
        if len(self._waiting) >= _BATCH:
            self._keep()

    def finish(self) -> list[RejectedLine]:
        """Count the lines whose external_id is on an earlier line, and give the first of them.

        A line that differs from the earlier one is rejected.
        """
        self._keep()
        repeats = self._seen.execute(
            "SELECT line, event, first_line, first_event FROM ("
            " SELECT line, event, first_value(line) OVER same AS first_line,"
            " first_value(event) OVER same AS first_event FROM seen"
            " WINDOW same AS (PARTITION BY external_id ORDER BY line)"
            ") WHERE line > first_line ORDER BY line"
        )
        shown: list[RejectedLine] = []
        for line, text, first_line, first_text in repeats:
            self._tally.accepted -= 1
            said = f"the external_id stands on line {first_line} already"
            differs = _differing(text, first_text)
            if not differs:
                self._tally.duplicates += 1
                if len(shown) < REJECTED_SHOWN_MAX:
                    shown.append(_repeated(line, said, [()]))
                continue
            said += f", which differs in {', '.join(map('.'.join, differs))}"
            self._tally.conflicts += 1
            self._tally.reject([_repeated(line, said, differs)], 1)
        return shown

    def _keep(self) -> None:
        self._seen.executemany("INSERT INTO seen VALUES (?, ?, ?)", self._waiting)
        self._waiting.clear()


def _require_own_type(event: NewEvent) -> None:
    """Check that an event's type is not reserved, which in an import the ledger decides.

    Raises:
        DomainError: validation-failed: the type is reserved.
    """
    try:
        not_reserved(event.event_type)
    except ValueError as error:
        raise field_errors([("/event_type", f"event_type {error}")]) from error


def _differing(text: bytes, first_text: bytes) -> list[Fact]:
    if text == first_text:
        return []
    first = ImportLine.model_validate_json(first_text).model_dump()
    first["metadata_json"] = orjson.dumps(first.pop("metadata") or {})
    return differing(ImportLine.model_validate_json(text), first)


def _repeated(line: int, said: str, facts: Sequence[Fact]) -> RejectedLine:
    errors = [FieldError(pointer=pointer(fact), detail=said) for fact in facts]
    return rejected(line, DuplicateExternalId(said, errors=errors))


@contextmanager
def checking(tally: Tally) -> Iterator[Check]:
    """Open a check with its temporary database.

    Raises:
        CliError: There is no room for the temporary database.
    """
    # An empty name is a temporary database, which SQLite keeps in memory up to its cache's size.
    with closing(sqlite3.connect("")) as seen:
        # Temporary data needs no crash safety.
        seen.execute("PRAGMA journal_mode = OFF")
        seen.execute("PRAGMA synchronous = OFF")
        seen.execute("CREATE TABLE seen (external_id TEXT, line INTEGER, event BLOB)")
        try:
            yield Check(seen, tally)
        except sqlite3.Error as error:
            raise CliError(
                f"What was read cannot be kept for comparison: {error}. SQLITE_TMPDIR names another"
                " folder for it."
            ) from error
