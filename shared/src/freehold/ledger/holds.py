"""Typed calls that read holds. Each hold is read as its events: one places it, another settles it.

Every call is one statement, and so one transaction.
"""

from itertools import groupby
from operator import itemgetter
from uuid import UUID

from freehold.ledger.client import Connection, Record


async def hold_events(connection: Connection, hold_id: UUID) -> list[Record]:
    """List the event that placed a hold and the one that settled it, as far as there are any."""
    return await connection.fetch("SELECT * FROM hold_events($1)", hold_id)


async def list_holds(
    connection: Connection,
    *,
    account_id: str | None = None,
    account_prefix: str | None = None,
    pending: bool | None = None,
    before: UUID | None = None,
    holds_max: int,
) -> list[list[Record]]:
    """List holds, the newest first, each by its events.

    Args:
        connection: To the tenant's database.
        account_id: Only holds on this account.
        account_prefix: Only holds on accounts whose id begins with this.
        pending: Only pending ones, or only settled ones; None for both.
        before: The hold that the list goes on after.
        holds_max: How many to give at most.
    """
    rows = await connection.fetch(
        "SELECT * FROM list_holds($1, $2, $3, $4, $5)",
        account_id,
        account_prefix,
        pending,
        before,
        holds_max,
    )
    return [list(life) for _, life in groupby(rows, key=itemgetter("hold_id"))]
