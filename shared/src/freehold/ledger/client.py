"""Typed calls of the ledger's SQL functions, all but append and what sets and reads rules.

Every call is one statement, and so one transaction. Names are unqualified: the connection's
search_path names the home's schema.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

# Only the stubs know what a connection's rows are.
if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection
Record = asyncpg.Record


@dataclass(frozen=True, slots=True)
class Head:
    """Where a ledger ends. An empty one ends at seq 0."""

    seq: int
    event_id: UUID
    hash: bytes
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Projection:
    """What one call of project did: it applied the events from_seq..last_seq."""

    from_seq: int
    last_seq: int
    last_event_id: UUID
    head_seq: int
    epoch: int
    next_hold_expiry: datetime | None

    @property
    def applied(self) -> int:
        """How many events it applied."""
        return self.last_seq - self.from_seq + 1


@dataclass(frozen=True, slots=True)
class Settled:
    """What one call of expire_holds left: where the ledger ends, and when the next hold expires.

    It settles so many holds a call, so that the next one may be due already.
    """

    last_seq: int
    next_hold_expiry: datetime | None


@dataclass(frozen=True, slots=True)
class Verification:
    """What verify found."""

    ok: bool
    events_checked: int
    first_bad_seq: int | None
    reason: str | None
    head_seq: int
    head_hash: bytes


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the state is behind the ledger."""

    head_seq: int
    projected_seq: int
    events_behind: int
    seconds_behind: float
    epoch: int


async def head(connection: Connection) -> Head:
    """Say where the ledger ends."""
    return Head(*await _row(connection, "SELECT * FROM head()"))


async def project(connection: Connection, events_max: int) -> Projection:
    """Apply at most `events_max` of the ledger's tail to the state tables."""
    return Projection(*await _row(connection, "SELECT * FROM project($1)", events_max))


async def expire_holds(connection: Connection) -> Settled:
    """Settle holds that have expired."""
    return Settled(*await _row(connection, "SELECT * FROM expire_holds()"))


async def forget_expired_keys(connection: Connection, keys_max: int) -> int:
    """Remove at most `keys_max` expired idempotency keys; answer how many there were."""
    (forgotten,) = await _row(connection, "SELECT forget_expired_keys($1)", keys_max)
    return int(forgotten)


async def verify(
    connection: Connection, from_seq: int = 1, to_seq: int | None = None
) -> Verification:
    """Recompute the hash chain over a range of seq and compare it with what is stored."""
    return Verification(*await _row(connection, "SELECT * FROM verify($1, $2)", from_seq, to_seq))


async def reconcile(connection: Connection) -> list[Record]:
    """List the accounts whose state differs from the ledger up to the checkpoint."""
    return await connection.fetch("SELECT * FROM reconcile()")


async def rebuild(connection: Connection) -> int:
    """Make the state anew from the ledger; answer the seq it then stands at."""
    (seq,) = await _row(connection, "SELECT rebuild()")
    return int(seq)


async def projection_lag(connection: Connection) -> Lag:
    """Say how far the state is behind the ledger."""
    return Lag(*await _row(connection, "SELECT * FROM projection_lag()"))


async def hash_at(connection: Connection, seq: int) -> bytes | None:
    """Give the hash of the event with this seq, or None where the ledger has none."""
    (found,) = await _row(connection, "SELECT hash FROM event_at($1)", seq)
    return None if found is None else bytes(found)


async def make_partitions(connection: Connection) -> int:
    """Make the partitions that the year ahead needs; answer how many were missing."""
    (made,) = await _row(connection, "SELECT make_partitions()")
    return int(made)


async def balances(
    connection: Connection, account_ids: Sequence[str], *, strong: bool = False
) -> list[Record]:
    """Give accounts' balances: as projected, or with every event committed before the call."""
    function = "strong_balances" if strong else "balances"
    return await connection.fetch(f"SELECT * FROM {function}($1)", list(account_ids))  # noqa: S608 (one of two names)


async def list_balances(
    connection: Connection,
    *,
    account_prefix: str | None,
    currency: str | None,
    least: int | None,
    most: int | None,
    after: tuple[str, str] | None,
    rows_max: int,
) -> list[Record]:
    """List balances in order of account and currency, after a given pair of the two."""
    after_account_id, after_currency = after or (None, None)
    return await connection.fetch(
        "SELECT * FROM list_balances($1, $2, $3::text::numeric, $4::text::numeric, $5, $6, $7)",
        account_prefix,
        currency,
        None if least is None else str(least),
        None if most is None else str(most),
        after_account_id,
        after_currency,
        rows_max,
    )


async def events(
    connection: Connection, *, account_id: str | None, after: UUID | None, rows_max: int
) -> list[Record]:
    """List events in ledger order, after a given one, of one account or of all."""
    return await connection.fetch("SELECT * FROM events($1, $2, $3)", account_id, after, rows_max)


async def event(connection: Connection, event_id: UUID) -> Record | None:
    """Give one event, or None where the ledger has none of this id."""
    return await connection.fetchrow("SELECT * FROM event($1)", event_id)


async def written(connection: Connection, event_id: UUID) -> Record:
    """Give one event that is there, to who appends: `event` is for who reads."""
    return await _row(connection, "SELECT * FROM written($1, $1)", [str(event_id)])


async def legs(connection: Connection, transaction_id: UUID) -> list[Record]:
    """List the legs of a balanced transaction, or none where the ledger has none of this id."""
    return await connection.fetch("SELECT * FROM legs($1)", transaction_id)


async def hold_events(connection: Connection, hold_id: UUID) -> list[Record]:
    """List the event that placed a hold and the one that settled it, as far as there are any."""
    return await connection.fetch("SELECT * FROM hold_events($1)", [str(hold_id)])


async def _row(connection: Connection, statement: str, *arguments: object) -> Record:
    row = await connection.fetchrow(statement, *arguments)
    if row is None:
        raise RuntimeError(f"{statement} answered no row")
    return row
