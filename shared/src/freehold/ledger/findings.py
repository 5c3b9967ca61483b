"""Findings: what does not fit when a ledger's state is compared with it, and it with its anchor."""

from dataclasses import dataclass

from freehold.ledger import client as ledger
from freehold.ledger.client import Connection


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not fit. Names accounts and numbers of events, never amounts."""

    kind: str
    account_id: str | None = None
    currency: str | None = None
    seq: int | None = None


async def compare(
    connection: Connection, anchor_seq: int, anchor_hash: bytes | None
) -> list[Finding]:
    """Compare balances with the ledger, and the ledger with a head that was noted outside it.

    Args:
        connection: To the tenant's database.
        anchor_seq: The event whose hash was noted.
        anchor_hash: What it was then; None where none was noted.
    """
    findings = [
        Finding("balance-differs", row["account_id"], row["currency"])
        for row in await ledger.reconcile(connection)
    ]
    if anchor_hash is not None and await ledger.hash_at(connection, anchor_seq) != anchor_hash:
        findings.insert(0, Finding("ledger-rewritten", seq=anchor_seq))
    return findings
