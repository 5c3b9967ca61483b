"""Verifying a tenant's ledger on request: its chain, the state beside it, and the head outside it.

It is done as the auditor, who reads everything and changes nothing. What does not fit is told and
never repaired.
"""

from dataclasses import asdict
from typing import Any

from freehold.contracts.problems import NOT_FOUND, Problem
from freehold.ledger import client as ledger
from freehold.ledger.client import Connection
from freehold.ledger.findings import Finding, compare
from freehold.security.sealing import KeyRing
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.failures import database_failures
from freehold_tenant_manager.catalog.credentials import find_home
from freehold_tenant_manager.catalog.tenants import find_anchor
from freehold_tenant_manager.operations import Running

_STEP_EVENTS = 100_000
_CHAIN_SHARE = 0.8
_FINDINGS_MAX = 100


class Verifier:
    """Verifies one tenant's ledger at a time, a step after the other."""

    def __init__(self, catalog: Catalog, connections: TenantConnections, key_ring: KeyRing) -> None:
        self._catalog = catalog
        self._connections = connections
        self._key_ring = key_ring

    async def verify(self, running: Running) -> dict[str, Any]:
        """Verify a tenant's ledger, going on with the step that was noted last.

        Raises:
            Problem: not-found, where the tenant has no ledger any more; unavailable or overloaded,
                where a database does not answer.
        """
        async with self._catalog.connection() as catalog:
            home = await find_home(catalog, self._key_ring, running.tenant, "auditor")
            # Read before the ledger is, which only grows.
            anchor_seq, anchor_hash = await find_anchor(catalog, running.tenant)
        if home is None:
            raise Problem(NOT_FOUND, "the tenant has no ledger")
        with database_failures():
            async with self._connections.use(home) as connection:
                await self._verify_chain(running, connection)
                await running.note(_CHAIN_SHARE, "comparing balances with the ledger")
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
        """Recompute the hash chain, in steps that a crash costs one of."""
        state = {"next_seq": 1, "events_checked": 0, "findings": [], **running.state}
        while state["next_seq"] is not None:
            first_seq = state["next_seq"]
            head = await ledger.head(connection)
            last_seq = first_seq + _STEP_EVENTS - 1
            is_last = last_seq >= head.seq
            # With an open end the head itself and the holds are compared, too.
            proof = await ledger.verify(connection, first_seq, None if is_last else last_seq)
            if not proof.ok:
                found = Finding("chain-broken", seq=proof.first_bad_seq)
                state["findings"] = [*state["findings"], _shown(found, proof.reason)]
            state["events_checked"] += proof.events_checked
            state["next_seq"] = None if is_last else last_seq + 1
            share = min(state["events_checked"] / max(head.seq, 1), 1.0)
            await running.note(
                _CHAIN_SHARE * share,
                f"{state['events_checked']:,} of {head.seq:,} events recomputed",
                **state,
            )


def _shown(finding: Finding, detail: str | None = None) -> dict[str, Any]:
    return asdict(finding) | {"detail": detail}
