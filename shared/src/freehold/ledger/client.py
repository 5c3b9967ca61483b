"""Typed calls of the ledger's SQL functions that have no module of their own.

Every call is one statement, and so one transaction. Names are unqualified: the connection's
search_path names the home's schema.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from freehold.ledger.clocks import Clock, asked

# Only the stubs know what a connection's rows are.
if TYPE_CHECKING:
    Connection = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection
Record = asyncpg.Record

SESSION_SETTINGS = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "standard_conforming_strings": "on",
    "default_transaction_isolation": "read committed",
}
"""The settings of each of our sessions, whatever the server, the database or the role has.

So text that Postgres writes and reads is the same everywhere, and an append that waited for the
writer lock sees what was appended meanwhile. The driver sets the encoding of the client itself.
"""


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
    unindexed: bool
    """Whether an index of searchable metadata still lacks projected events."""

    @property
    def applied(self) -> int:
        """How many events it applied."""
        return self.last_seq - self.from_seq + 1


@dataclass(frozen=True, slots=True)
class Settled:
    """What one call of expire_holds left: where the ledger ends, and when the next hold expires.

    A call settles a limited number of holds, so the next one may be due already.
    """

    last_seq: int
    next_hold_expiry: datetime | None


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of verify."""

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


@dataclass(frozen=True, slots=True)
class Changes:
    """Balances that changed after a position, in the order of their last events."""

    epoch: int
    through: UUID
    """The event up to which these are all that changed."""
    events_left: int
    """Projected events that follow it."""
    balances: list[Record]


async def head(connection: Connection) -> Head:
    """Give the ledger's end."""
    return Head(*await _row(connection, "SELECT * FROM head()"))


async def project(connection: Connection, events_max: int) -> Projection:
    """Apply at most `events_max` of the ledger's tail to the state tables."""
    return Projection(*await _row(connection, "SELECT * FROM project($1)", events_max))


async def expire_holds(connection: Connection, clock: Clock | None = None) -> Settled:
    """Settle holds that have expired, while the database's clock agrees with the caller's."""
    return Settled(
        *await _row(
            connection, "SELECT h.* FROM agreed_now($1, $2), expire_holds() AS h", *asked(clock)
        )
    )


async def forget_expired_keys(
    connection: Connection, keys_max: int, clock: Clock | None = None
) -> int:
    """Remove at most `keys_max` expired idempotency keys; answer how many there were.

    Only while the database's clock agrees with the caller's.
    """
    (forgotten,) = await _row(
        connection,
        "SELECT k.* FROM agreed_now($2, $3), forget_expired_keys($1) AS k",
        keys_max,
        *asked(clock),
    )
    return int(forgotten)


async def verify(
    connection: Connection, from_seq: int = 1, to_seq: int | None = None
) -> Verification:
    """Recompute the hash chain over a range of seq and compare it with what is stored."""
    return Verification(*await _row(connection, "SELECT * FROM verify($1, $2)", from_seq, to_seq))


async def reconcile(connection: Connection) -> list[Record]:
    """List the accounts whose state differs from the ledger up to the checkpoint."""
    return await connection.fetch("SELECT * FROM reconcile()")


async def reconcile_activity(connection: Connection) -> list[Record]:
    """List the rollups that differ from the ledger up to the checkpoint."""
    return await connection.fetch("SELECT * FROM reconcile_activity()")


async def reconcile_metadata(connection: Connection) -> list[str]:
    """List the searchable metadata keys whose index differs from the ledger."""
    return [row[0] for row in await connection.fetch("SELECT * FROM reconcile_metadata()")]


async def rebuild(connection: Connection) -> int:
    """Make the state anew from the ledger; answer the seq it then stands at."""
    (seq,) = await _row(connection, "SELECT rebuild()")
    return int(seq)


async def projection_lag(connection: Connection) -> Lag:
    """Give how far the state is behind the ledger."""
    return Lag(*await _row(connection, "SELECT * FROM projection_lag()"))


async def hash_at(connection: Connection, seq: int) -> bytes | None:
    """Give the hash of the event with this seq, or None where the ledger has none."""
    (found,) = await _row(connection, "SELECT hash FROM event_at($1)", seq)
    return None if found is None else bytes(found)


async def event_id_at(connection: Connection, seq: int) -> UUID | None:
    """Give the id of the event with this seq, or None where the ledger has none."""
    event_id: UUID | None
    (event_id,) = await _row(connection, "SELECT event_id FROM event_at($1)", seq)
    return event_id


async def estimated_balances(connection: Connection) -> int:
    """Say how many balances the state tables have, as Postgres estimates it without counting."""
    (estimate,) = await _row(
        connection,
        "SELECT greatest(pg_stat_get_live_tuples(c.oid), c.reltuples, 0)::bigint"
        " FROM pg_class AS c WHERE c.oid = 'account_balances'::regclass",
    )
    return int(estimate)


async def make_partitions(connection: Connection, clock: Clock | None = None) -> int:
    """Make the partitions that the year ahead needs; answer how many were missing.

    Only while the database's clock agrees with the caller's.
    """
    (made,) = await _row(
        connection, "SELECT p.* FROM agreed_now($1, $2), make_partitions() AS p", *asked(clock)
    )
    return int(made)


async def balances(
    connection: Connection, account_ids: Sequence[str], *, strong: bool = False
) -> list[Record]:
    """Give accounts' balances: as projected, or with every event committed before the call."""
    statement = "SELECT * FROM strong_balances($1)" if strong else "SELECT * FROM balances($1)"
    return await connection.fetch(statement, list(account_ids))


@dataclass(frozen=True, slots=True)
class BalanceFilters:
    """What listed balances must have. All conditions hold together; None stands for none."""

    account_prefix: str | None = None
    currency: str | None = None
    least: int | None = None
    """The least amount, in minor units."""
    most: int | None = None


ALL_BALANCES = BalanceFilters()


async def list_balances(
    connection: Connection,
    filters: BalanceFilters = ALL_BALANCES,
    *,
    after: tuple[str, str] | None = None,
    rows_max: int,
) -> list[Record]:
    """List projected balances in order of account and currency, after a given one."""
    return await connection.fetch(
        "SELECT * FROM list_balances($1, $2, $3::text::numeric, $4::text::numeric, $5, $6, $7)",
        *list_arguments(filters, after, rows_max),
    )


async def balance_before(
    connection: Connection, filters: BalanceFilters, position: tuple[str, str], *, steps: int
) -> tuple[str, str] | None:
    """Name the balance so many steps before another one in the list; None if there are fewer.

    The list may be filtered by prefix and currency.
    """
    row = await connection.fetchrow(
        "SELECT * FROM balance_before($1, $2, $3, $4, $5)",
        filters.account_prefix or "",
        filters.currency,
        *position,
        steps,
    )
    return None if row is None else (row["account_id"], row["currency"])


def list_arguments(
    filters: BalanceFilters, after: tuple[str, str] | None, rows_max: int
) -> tuple[object, ...]:
    """Write a list of balances as arguments. Amounts are text: they may exceed 64 bits."""
    return (
        filters.account_prefix,
        filters.currency,
        None if filters.least is None else str(filters.least),
        None if filters.most is None else str(filters.most),
        *(after or (None, None)),
        rows_max,
    )


async def changed_balances(
    connection: Connection, *, epoch: int, after: UUID | None, events_max: int
) -> Changes:
    """Give the balances that the projected events after a given one changed.

    Args:
        connection: Where the ledger is.
        epoch: The epoch of `after`. In another one there are no changes, only where it stands.
        after: The event; None to learn only where the projection stands.
        events_max: How many events to look at.
    """
    rows = await connection.fetch(
        "SELECT * FROM changed_balances($1, $2, $3)", epoch, after, events_max
    )
    return Changes(
        epoch=rows[0]["epoch"],
        through=rows[0]["through_event_id"],
        events_left=rows[0]["events_left"],
        balances=[row for row in rows if row["account_id"] is not None],
    )


async def event(connection: Connection, event_id: UUID) -> Record | None:
    """Give one event, or None where the ledger has none of this id."""
    return await connection.fetchrow("SELECT * FROM event($1)", event_id)


async def event_with_undoing(
    connection: Connection, event_id: UUID, *, refunds_max: int
) -> Record | None:
    """Give one event and, in the same row, what undoes it (see `undoing` in sql/refunds.sql)."""
    return await connection.fetchrow(
        "SELECT e.*, u.* FROM event($1) AS e, undoing($1, $2) AS u", event_id, refunds_max
    )


async def legs(connection: Connection, transaction_id: UUID) -> list[Record]:
    """List the legs of a balanced transaction, or none where the ledger has none of this id."""
    return await connection.fetch("SELECT * FROM legs($1)", transaction_id)


async def _row(connection: Connection, statement: str, *arguments: object) -> Record:
    row = await connection.fetchrow(statement, *arguments)
    if row is None:
        raise RuntimeError(f"{statement} answered no row")
    return row
