"""Verifies a ledger in ranges: no snapshot lasts longer than one of them.

Each range begins with the stored hash before it, so all ranges together prove what one would.
"""

from collections.abc import AsyncIterator
from typing import Any

from freehold.contracts.errors import DomainError
from freehold.http.problems import problem_document
from freehold.ledger import client as ledger
from freehold.tenants.homes import Home
from freehold_query.audit.contracts import RangeQuery
from freehold_query.reads import Reads

RANGE_EVENTS = 20_000
"""A quarter of a second or so, where the server is not busy."""


async def verification(
    reads: Reads, home: Home, asked: RangeQuery, head_seq: int
) -> AsyncIterator[dict[str, Any]]:
    """Recompute the hashes of a range of the ledger; give the progress, and the verdict at last.

    A fault ends it, and so does a database that does not answer.

    Args:
        reads: Reads tenants' ledgers.
        home: The tenant's.
        asked: The range, within the ledger.
        head_seq: Where the ledger ends.

    Raises:
        Overloaded, Unavailable: The first range cannot be read.
    """
    first, checked = asked.from_seq, 0
    while True:
        end = asked.to_seq or max(head_seq, first - 1)
        last = min(first + RANGE_EVENTS - 1, end)
        try:
            async with reads.connection(home, "verify") as connection:
                # Without a last seq the head is compared as well.
                found = await ledger.verify(connection, first, last if last < end else asked.to_seq)
        except DomainError as error:
            if not checked:
                raise
            yield {
                "done": False,
                "verified_through_seq": first - 1,
                "error": problem_document(error),
            }
            return
        checked += found.events_checked
        head_seq = found.head_seq
        if last == end or not found.ok:
            yield {
                "done": True,
                "ok": found.ok,
                "from_seq": asked.from_seq,
                "to_seq": asked.to_seq or head_seq,
                "events_checked": checked,
                "first_bad_seq": found.first_bad_seq,
                "reason": found.reason,
                "head_seq": head_seq,
                "head_hash": found.head_hash.hex() if head_seq else None,
            }
            return
        yield {"verified_through_seq": last, "to_seq": asked.to_seq or head_seq}
        first = last + 1
