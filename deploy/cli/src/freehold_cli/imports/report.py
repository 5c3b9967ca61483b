"""The summary of an import, for a person or for another program."""

import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

from rich.markup import escape
from rich.table import Table

from freehold.contracts.imports import RejectedLine
from freehold_cli.errors import CliError
from freehold_cli.imports.tally import Tally
from freehold_cli.output import out, visible, write_json

_ROWS_MAX = 20


class Report:
    """Prints the summary of an import."""

    def __init__(self, tally: Tally, *, as_json: bool) -> None:
        self.tally = tally
        self._as_json = as_json
        self._began = time.monotonic()

    def imported(self, tenant_id: str) -> None:
        """Print the summary of a finished import."""
        tally = self.tally
        if self._as_json:
            self._write(done=True, dry_run=False, tenant_id=tenant_id)
            return
        seconds = time.monotonic() - self._began
        out.print(
            f"{tally.accepted:,} events imported into {tenant_id}, {tally.duplicates:,} were there"
            f" already, {_rejected(tally)} rejected.\n"
            f"{seconds:.1f} s, {tally.events / seconds:,.0f} events/s",
            highlight=False,
        )
        _show("rejected", tally.rejected, tally.rejected_count)

    def checked(self, repeats: Sequence[RejectedLine]) -> None:
        """Print the summary of a dry run. `repeats` have the external_id of an earlier line."""
        tally = self.tally
        if self._as_json:
            repeated = [line.model_dump(mode="json", exclude_none=True) for line in repeats]
            self._write(done=True, dry_run=True, repeated=repeated)
            return
        out.print(
            f"{tally.accepted:,} events could be imported, {tally.duplicates:,} lines repeat an"
            f" earlier one, {_rejected(tally)} would be rejected. Nothing was sent.",
            highlight=False,
        )
        _show("rejected", tally.rejected, tally.rejected_count)
        _show("repeated", repeats, tally.duplicates)

    def unfinished(self, error: CliError, *, dry_run: bool = False) -> CliError:
        """Print the summary of an unfinished import, and give the error to end with."""
        if self._as_json:
            self._write(done=False, dry_run=dry_run, error=str(error))
        if dry_run or not self.tally.events:
            return error
        safe = self.tally.accepted + self.tally.duplicates
        return CliError(
            f"{error}\n{safe:,} events of this file are in the ledger and safe. The same command"
            " again imports the rest.",
            error.exit_code,
        )

    def _write(self, **facts: Any) -> None:
        seconds = round(time.monotonic() - self._began, 3)
        write_json({**facts, **self.tally.document(), "seconds": seconds})


def _rejected(tally: Tally) -> str:
    if not tally.conflicts:
        return f"{tally.rejected_count:,} lines"
    return (
        f"{tally.rejected_count:,} lines ({tally.conflicts:,} of them with the external_id of an"
        " event that says otherwise)"
    )


def _show(what: str, lines: Sequence[RejectedLine], count: int) -> None:
    if not count:
        return
    table = Table("line", "field", "reason", box=None)
    for line in islice(lines, _ROWS_MAX):
        for error in line.errors:
            field = error.pointer.removeprefix("/").replace("/", ".")
            table.add_row(f"{line.line}", escape(visible(field)), escape(visible(error.detail)))
    out.print(table)
    if count > _ROWS_MAX:
        out.print(f"… and {count - _ROWS_MAX:,} more lines {what}", highlight=False)
