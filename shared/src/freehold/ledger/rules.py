"""Typed calls that set and read a tenant's rules for their own ledger.

Every call is one statement, and so one transaction. What sets them does so only while the
database's clock agrees with the caller's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from freehold.ledger.client import Connection, Record
from freehold.ledger.clocks import Clock, asked

EVENT_TYPES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class EventTypes:
    """The declared event types in order of their names, and whether others are refused."""

    closed: bool
    declared: Sequence[Mapping[str, str]]


async def declare_event_type(
    connection: Connection, event_type: str, sign: str, description: str, clock: Clock | None = None
) -> bool:
    """Declare an event type, or change its declaration; False where there are too many."""
    declared = await connection.fetchrow(
        "SELECT FROM agreed_now($5, $6), declare_event_type($1, $2, $3, $4)",
        event_type,
        sign,
        description,
        EVENT_TYPES_MAX,
        *asked(clock),
    )
    return declared is not None


async def close_event_types(
    connection: Connection, clock: Clock | None = None, *, closed: bool
) -> None:
    """Refuse undeclared event types from now on, or not."""
    await connection.execute(
        "SELECT FROM agreed_now($2, $3), close_event_types($1)", closed, *asked(clock)
    )


async def event_types(connection: Connection) -> EventTypes:
    """Give the declared event types."""
    row = await connection.fetchrow("SELECT * FROM declared_event_types()")
    if row is None:
        raise RuntimeError("the ledger has no settings")
    return EventTypes(row["closed"], orjson.loads(row["event_types_json"]))


async def declare_searchable_metadata(
    connection: Connection, keys: Sequence[str], clock: Clock | None = None
) -> None:
    """Set by which metadata keys events are searched: these and no others."""
    await connection.execute(
        "SELECT FROM agreed_now($2, $3), declare_searchable_metadata($1)", list(keys), *asked(clock)
    )


async def searchable_keys(connection: Connection) -> list[str]:
    """Give the metadata keys by which events are searched, in their order."""
    return [row[0] for row in await connection.fetch("SELECT * FROM searchable_keys()")]


async def limit_account(
    connection: Connection,
    account_id: str,
    currency: str,
    min_balance_minor: int | None,
    clock: Clock | None = None,
) -> None:
    """Set how low an account's available balance may be taken; None lifts the limit."""
    await connection.execute(
        "SELECT FROM agreed_now($4, $5), limit_account($1, $2, $3)",
        account_id,
        currency,
        min_balance_minor,
        *asked(clock),
    )


async def limits_of(connection: Connection, account_id: str) -> Sequence[Record]:
    """Give the limits of an account in order of currency."""
    return await connection.fetch("SELECT * FROM limits_of($1)", account_id)
