"""Verifies a tenant's ledger: its hash chain, its projected state, and its head in the catalog.

The control plane's role does so, which can only read. Findings are reported and never repaired.
"""

from dataclasses import asdict
from typing import Any

from freehold.contracts.errors import NotFound
from freehold.ledger import client as ledger
from freehold.ledger.client import Connection
from freehold.ledger.findings import Finding, compare
from freehold.security.key_ring import KeyRing
from freehold.tenants.catalog import Catalog
from freehold.tenants.connections import TenantConnections
from freehold_tenant_manager.credentials.store import find_own_home
from freehold_tenant_manager.operations.operations import Running
from freehold_tenant_manager.tenants.store import find_reconciliation

_STEP_EVENTS = 100_000
_CHAIN_SHARE = 0.8
_FINDINGS_MAX = 100


class Verifier:
    """The handler of operations of the kind `verify`."""

    def __init__(self, catalog: Catalog, connections: TenantConnections, key_ring: KeyRing) -> None:
        self._catalog = catalog
        self._connections = connections
        self._key_ring = key_ring

    async def verify(self, running: Running) -> dict[str, Any]:
        """Verify a tenant's ledger, from the last saved step on.

        Raises:
            NotFound: The tenant has no ledger any more.
            Unavailable, Overloaded: A database does not answer.
        """
        async with self._catalog.connection() as catalog:
            home = await find_own_home(catalog, self._key_ring, running.tenant)
            # Read first: the ledger only grows, so it must contain this head.
            last = await find_reconciliation(catalog, running.tenant)
        if home is None:
            raise NotFound("the tenant has no ledger")
        anchor_seq, anchor_hash = (last["anchor_seq"], last["anchor_hash"]) if last else (0, None)
        async with self._connections.use(home) as connection:
            await self._verify_chain(running, connection)
            await running.save(_CHAIN_SHARE, "comparing balances with the ledger")
            rest = await compare(connection, anchor_seq, anchor_hash)
            head = await ledger.head(connection)
        findings = running.state["findings"] + [_shown(one) for one in rest]
        return {
            "ok": not findings,
            "head": {"seq": head.seq, "hash": head.hash.hex() if head.seq else None},
            "events_checked": running.state["events_checked"],
            "anchor_seq": anchor_seq,
            "findings_count": len(findings),
            "findings": findings[:_FINDINGS_MAX],
        }

    async def _verify_chain(self, running: Running, connection: Connection) -> None:
        """Recompute the hash chain in steps; a crash costs at most one."""
        state = {"next_seq": 1, "events_checked": 0, "findings": [], **running.state}
        while state["next_seq"] is not None:
            first_seq = state["next_seq"]
            head = await ledger.head(connection)
            last_seq = first_seq + _STEP_EVENTS - 1
            is_last = last_seq >= head.seq
            # Without a last seq, the head itself and the holds are compared as well.
            proof = await ledger.verify(connection, first_seq, None if is_last else last_seq)
            if not proof.ok:
                found = Finding("chain-broken", seq=proof.first_bad_seq)
                state["findings"] = [*state["findings"], _shown(found, proof.reason)]
            state["events_checked"] += proof.events_checked
            state["next_seq"] = None if is_last else last_seq + 1
            share = min(state["events_checked"] / max(head.seq, 1), 1.0)
            await running.save(
                _CHAIN_SHARE * share,
                f"{state['events_checked']:,} of {head.seq:,} events recomputed",
                **state,
            )


def _shown(finding: Finding, detail: str | None = None) -> dict[str, Any]:
    return asdict(finding) | {"detail": detail}
