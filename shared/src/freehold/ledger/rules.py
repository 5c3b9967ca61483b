"""Typed calls that set and read a tenant's rules for their own ledger.

Every call is one statement, and so one transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from freehold.ledger.client import Connection, Record

EVENT_TYPES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class EventTypes:
    """The declared event types in order of their names, and whether others are refused."""

    closed: bool
    declared: Sequence[Mapping[str, str]]


async def declare_event_type(
    connection: Connection, event_type: str, sign: str, description: str
) -> bool:
    """Declare an event type, or change its declaration; False where there are too many."""
    declared = await connection.fetchrow(
        "SELECT FROM declare_event_type($1, $2, $3, $4)",
        event_type,
        sign,
        description,
        EVENT_TYPES_MAX,
    )
    return declared is not None


async def close_event_types(connection: Connection, *, closed: bool) -> None:
    """Refuse undeclared event types from now on, or not."""
    await connection.execute("SELECT close_event_types($1)", closed)


async def event_types(connection: Connection) -> EventTypes:
    """Give the declared event types."""
    row = await connection.fetchrow("SELECT * FROM declared_event_types()")
    if row is None:
        raise RuntimeError("the ledger has no settings")
    return EventTypes(row["closed"], orjson.loads(row["event_types_json"]))


async def limit_account(
    connection: Connection, account_id: str, currency: str, min_balance_minor: int | None
) -> None:
    """Set how low an account's available balance may be taken; None lifts the limit."""
    await connection.execute(
        "SELECT limit_account($1, $2, $3)", account_id, currency, min_balance_minor
    )


async def limits_of(connection: Connection, account_id: str) -> Sequence[Record]:
    """Give the limits of an account in order of currency."""
    return await connection.fetch("SELECT * FROM limits_of($1)", account_id)
