"""What a dry run needs besides the file: room for what it compares."""

import sqlite3

import pytest

from freehold_cli.errors import CliError, ExitCode
from freehold_cli.imports.dry_run import checking
from freehold_cli.imports.tally import Tally


def test_a_full_disk_is_reported_in_one_line() -> None:
    with pytest.raises(CliError, match="SQLITE_TMPDIR") as raised, checking(Tally()):
        raise sqlite3.OperationalError("database or disk is full")
    assert raised.value.exit_code == ExitCode.FAILED
    assert "\n" not in str(raised.value)
