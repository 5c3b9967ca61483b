"""What clients may keep, and how they ask whether it still holds (RFC 9110, section 13)."""

import re
from collections.abc import Iterable
from hashlib import sha256

from freehold.ledger.client import Record

CACHING = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}
"""A client may keep an answer but asks before each use: balances change at any time."""

_TAG = re.compile(r'(?:W/)?("[^"]*")')


def balances_etag(rows: Iterable[Record]) -> str:
    """Give the weak tag of balances; it names the last event of each currency.

    Weak, since the same balances may be answered as projected and as strong, whose times differ.
    """
    facts = ";".join(
        f"{row['currency']}:{row['last_seq']}:{row['last_ledger_event_id']}" for row in rows
    )
    return f'W/"{sha256(facts.encode()).hexdigest()[:32]}"'


def none_match(if_none_match: Iterable[str], etag: str) -> bool:
    """Say whether If-None-Match lets the request through: no tag in it is this one.

    Compares weakly, as section 13.1.2 asks.
    """
    listed = ",".join(if_none_match)
    if listed.strip() == "*":
        return False
    return etag.removeprefix("W/") not in _TAG.findall(listed)
