"""Reconciliation: on a schedule, each tenant's state is compared with a replay of its ledger.

Beside it, the ledger is held against the head that was noted outside it last time: a ledger that
was rewritten or cut short since no longer fits. What is found is reported, never repaired in
silence. It also heals what a lost doorbell left behind, makes next year's partitions, and has the
tenant's expired idempotency keys removed.
"""

from dataclasses import asdict

import asyncpg
import orjson
import structlog

from freehold.contracts.problems import Problem
from freehold.ledger import client as ledger
from freehold.ledger.client import Connection, Head, Record
from freehold.ledger.findings import Finding, compare
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.directory import Directory
from freehold.tenancy.failures import database_failures
from freehold.tenancy.homes import Home
from freehold.tenancy.queries import load_queries
from freehold_projector.catching_up import CatchingUp
from freehold_projector.hold_expiry import HoldExpiries
from freehold_projector.metrics import RECONCILED
from freehold_projector.retention import Retention

_log = structlog.get_logger(__name__)
_QUERIES = load_queries("freehold_projector", "reconciliation.sql")
_CLAIMED_MAX = 5
_CLAIM_S = 600.0
_FINDINGS_MAX = 100


class Reconciliation:
    """Reconciles whoever is due, a few at a time; any number of processes share the work."""

    def __init__(
        self,
        catalog: Catalog,
        directory: Directory,
        connections: TenantConnections,
        catching_up: CatchingUp,
        hold_expiries: HoldExpiries,
        retention: Retention,
        *,
        every_s: float,
    ) -> None:
        self._catalog = catalog
        self._directory = directory
        self._connections = connections
        self._catching_up = catching_up
        self._hold_expiries = hold_expiries
        self._retention = retention
        self._every_s = every_s

    async def reconcile_due(self) -> bool:
        """Reconcile a few of those who are due; answers whether more may be.

        Raises:
            Problem: unavailable, where the catalog does not answer.
        """
        rows = await self._catalog.fetch(_QUERIES["claim"], _CLAIMED_MAX, _CLAIM_S)
        for row in rows:
            try:
                await self._reconcile(row)
            except Exception:  # noqa: BLE001 (one tenant's fault must not keep the others waiting)
                _log.exception("could not reconcile", tenant_id=row["tenant_id"])
        return len(rows) == _CLAIMED_MAX

    async def _reconcile(self, claim: Record) -> None:
        tenant_id = claim["tenant_id"]
        home = await self._directory.home(tenant_id)
        if home is None:
            return
        if home.epoch != claim["epoch"]:
            # A restore is being heard of; it makes the tenant due again.
            _log.info("not reconciled while restored", tenant_id=tenant_id)
            return
        # First: a ledger that cannot be examined in time would keep its expired keys for ever.
        self._retention.take_up(tenant_id)
        try:
            stuck = await self._stuck(tenant_id)
            with database_failures():
                async with self._connections.use(home) as connection:
                    findings, head = await examine(
                        connection, claim["anchor_seq"], claim["anchor_hash"]
                    )
        except Problem as problem:
            _log.warning("could not reconcile", tenant_id=tenant_id, fault=problem.detail)
            return
        findings = stuck + findings
        await self._record(home, findings, head)

    async def _stuck(self, tenant_id: str) -> list[Finding]:
        """Bring the state up to the ledger first; a ledger that was tampered with may refuse."""
        try:
            projection = await self._catching_up.catch_up(tenant_id)
        except asyncpg.PostgresError as error:
            _log.exception("the ledger cannot be projected", tenant_id=tenant_id, fault=repr(error))
            return [Finding("projection-fails")]
        await self._hold_expiries.note(tenant_id, projection.next_hold_expiry)
        return []

    async def _record(self, home: Home, findings: list[Finding], head: Head) -> None:
        # A ledger that does not fit keeps its old anchor, as evidence.
        anchored = not findings and head.seq > 0
        await self._catalog.execute(
            _QUERIES["record"],
            home.tenant_id,
            self._every_s,
            orjson.dumps([asdict(finding) for finding in findings[:_FINDINGS_MAX]]).decode(),
            head.seq if anchored else None,
            head.hash if anchored else None,
            home.epoch,
        )
        RECONCILED.labels("differs" if findings else "ok").inc()
        if findings:
            _log.error(
                "state or ledger does not fit",
                tenant_id=home.tenant_id,
                findings=len(findings),
                first=asdict(findings[0]),
            )


async def examine(
    connection: Connection, anchor_seq: int, anchor_hash: bytes | None
) -> tuple[list[Finding], Head]:
    """Compare a tenant's state and ledger with each other and with an anchor kept outside."""
    await ledger.make_partitions(connection)
    findings = await compare(connection, anchor_seq, anchor_hash)
    head = await ledger.head(connection)
    proof = await ledger.verify(connection, max(anchor_seq, 1))
    if not proof.ok:
        findings.insert(0, Finding("chain-broken", seq=proof.first_bad_seq))
    return findings, head
