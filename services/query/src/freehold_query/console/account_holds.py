"""The holds on an account's page."""

from typing import Any

from freehold.contracts.currency import MINOR_UNIT_EXPONENTS
from freehold.ledger.client import Connection
from freehold.ledger.documents import hold_status
from freehold.ledger.holds import list_holds

HOLDS_MAX = 50


async def read_holds(connection: Connection, account_id: str) -> list[dict[str, Any]]:
    """List an account's holds: the pending ones first, then the latest that are settled."""
    pending = await list_holds(connection, account_id=account_id, pending=True, holds_max=HOLDS_MAX)
    settled = await list_holds(
        connection, account_id=account_id, pending=False, holds_max=HOLDS_MAX - len(pending)
    )
    lives = ((life[0], life[-1]) for life in (*pending, *settled))
    return [
        {
            **placed,
            "exponent": MINOR_UNIT_EXPONENTS[placed["currency"]],
            "status": hold_status(latest),
            "captured_minor": -latest["amount_minor"],
            "settled_at": None if latest is placed else latest["recorded_at"],
        }
        for placed, latest in lives
    ]
