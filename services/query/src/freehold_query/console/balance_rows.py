"""Balances as pages show them, and the part of the list of balances that a page follows live."""

from typing import Any

from freehold.contracts.currency import MINOR_UNIT_EXPONENTS
from freehold.ledger.client import Record
from freehold_query.console.parameters import BranchParameters
from freehold_query.cursors import CursorScope
from freehold_query.readers import Reader

LIVE_PATH = "/console/stream"
_LAST_CURRENCY = "ZZZ"


def balance_cursors(reader: Reader, query: BranchParameters) -> CursorScope:
    """Make the cursors of the list with a query's filters."""
    return CursorScope(reader.home, "console balances", query)


def account_stream(reader: Reader, account_id: str) -> str:
    """Give the address of the stream of one account: the first one that begins with its id."""
    query = BranchParameters(account_prefix=account_id)
    through = balance_cursors(reader, query).write(account_id, _LAST_CURRENCY)
    return query.address(LIVE_PATH, through=through)


def balance_row(row: Record) -> dict[str, Any]:
    """Give a balance as pages show it; what was held in the past is not known."""
    held = row.get("held_minor")
    balance = int(row["current_balance_minor"])
    return {
        **row,
        "exponent": MINOR_UNIT_EXPONENTS[row["currency"]],
        "current_balance_minor": balance,
        "held_minor": held,
        "available_minor": None if held is None else balance - int(held),
    }
