"""Typed calls that read what proves single events; `client.verify` proves ranges of them.

Every call is one statement, and so one transaction.
"""

from dataclasses import dataclass
from uuid import UUID

from freehold.ledger.client import Connection

NOTHING = bytes(32)
"""What the hash of the first event follows."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What proves an event: `hash` is sha256(`previous_hash` || `content`)."""

    previous_hash: bytes
    """The hash of the event before; `NOTHING` for the first one."""
    content: bytes
    """The event's canonical bytes (shared/README.md, "The hash chain")."""
    hash: bytes
    """As it is stored."""


async def event_proof(connection: Connection, event_id: UUID) -> Proof | None:
    """Give what proves an event, or None where the ledger has none of this id."""
    row = await connection.fetchrow("SELECT * FROM event_proof($1)", event_id)
    if row is None or row["hash"] is None:
        return None
    return Proof(row["previous_hash"], row["content"], row["hash"])


async def event_at(connection: Connection, seq: int) -> tuple[UUID, bytes] | None:
    """Give the id and the hash of the event with this seq, or None where the ledger has none."""
    row = await connection.fetchrow("SELECT event_id, hash FROM event_at($1)", seq)
    return None if row is None or row["event_id"] is None else (row["event_id"], row["hash"])
