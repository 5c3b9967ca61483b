"""Findings: where a ledger's state differs from it, or the ledger from its anchor."""

from dataclasses import dataclass

from freehold.ledger import client as ledger
from freehold.ledger.client import Connection


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference. It names accounts and events' seq, never amounts."""

    kind: str
    account_id: str | None = None
    currency: str | None = None
    seq: int | None = None


async def differences(connection: Connection) -> list[Finding]:
    """Compare all that is projected with the ledger."""
    balances = await ledger.reconcile(connection)
    activity = await ledger.reconcile_activity(connection)
    metadata = await ledger.reconcile_metadata(connection)
    return [
        *(Finding("balance-differs", row["account_id"], row["currency"]) for row in balances),
        *(
            Finding("activity-differs", currency=currency)
            for currency in sorted({row["currency"] for row in activity})
        ),
        *([Finding("metadata-index-differs")] if metadata else []),
    ]


async def compare(
    connection: Connection, anchor_seq: int, anchor_hash: bytes | None
) -> list[Finding]:
    """Compare all that is projected with the ledger, and the ledger with a hash kept outside it.

    The kept hash is that of the event `anchor_seq`; None if none is kept.
    """
    findings = await differences(connection)
    if anchor_hash is not None and await ledger.hash_at(connection, anchor_seq) != anchor_hash:
        findings.insert(0, Finding("ledger-rewritten", seq=anchor_seq))
    return findings
