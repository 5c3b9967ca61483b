"""The ledger's events in their order, with all that the hash chain covers, page by page."""

from collections.abc import AsyncIterator
from typing import Any

from freehold.contracts.times import rfc_3339
from freehold.ledger import search
from freehold.ledger.client import Record
from freehold.ledger.documents import event_document
from freehold.ledger.proofs import NOTHING, event_at
from freehold.tenants.homes import Home
from freehold_query.reads import Reads

PAGE_EVENTS = 1_000


async def ledger_lines(
    reads: Reads, home: Home, from_seq: int, to_seq: int
) -> AsyncIterator[list[dict[str, Any]]]:
    """Read the events from one seq through another, which the ledger has.

    Raises:
        Overloaded, Unavailable: A page cannot be read.
    """
    after, previous_hash = None, NOTHING
    if from_seq > 1:
        async with reads.connection(home, "event_at") as connection:
            before = await event_at(connection, from_seq - 1)
        if before is not None:
            after, previous_hash = before
    left = to_seq - from_seq + 1
    while True:
        async with reads.connection(home, "events") as connection:
            rows = (
                await search.events(connection, after=after, rows_max=min(left, PAGE_EVENTS))
                if left > 0
                else []
            )
        documents = []
        for row in rows:
            documents.append(_document(row, previous_hash))
            previous_hash = row["hash"]
        yield documents
        left -= len(rows)
        if left <= 0 or not rows:
            return
        after = rows[-1]["event_id"]


def _document(row: Record, previous_hash: bytes) -> dict[str, Any]:
    document = event_document(row)
    if row["hold_id"] is not None:
        expires_at = row["hold_expires_at"]
        document["hold_expires_at"] = None if expires_at is None else rfc_3339(expires_at)
    return {**document, "previous_hash": previous_hash.hex()}
