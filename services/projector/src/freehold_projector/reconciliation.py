"""Reconciliation: on a schedule, each tenant's state is compared with a replay of its ledger.

The ledger is also compared with the head that the catalog kept last time: a ledger that was
rewritten or cut short since no longer fits. What is found is reported, never repaired in silence.
Reconciliation also projects what a lost doorbell left behind, makes next year's partitions, and has
the tenant's expired idempotency keys removed.
"""

from dataclasses import asdict
from uuid import uuid4

import asyncpg
import orjson
import structlog

from freehold.contracts.errors import DomainError
from freehold.database.leases import kept
from freehold.database.queries import load_queries
from freehold.ledger import client as ledger
from freehold.ledger.client import Connection, Head, Record
from freehold.ledger.clocks import Clock
from freehold.ledger.findings import Finding, compare
from freehold.tenants.catalog import Catalog
from freehold.tenants.connections import TenantConnections
from freehold.tenants.directory import Directory
from freehold.tenants.homes import Home
from freehold_projector.catch_up import CatchUp
from freehold_projector.hold_expiry import HoldExpiries
from freehold_projector.metrics import RECONCILED
from freehold_projector.retention import Retention

_log = structlog.get_logger(__name__)
_QUERIES = load_queries("freehold_projector", "reconciliation.sql")
_LEASE_S = 60.0
_RETRY_S = 600.0
_FINDINGS_MAX = 100


class Reconciliation:
    """Reconciles tenants that are due, one at a time; any number of processes share the work."""

    def __init__(
        self,
        catalog: Catalog,
        directory: Directory,
        connections: TenantConnections,
        catch_up: CatchUp,
        hold_expiries: HoldExpiries,
        retention: Retention,
        *,
        every_s: float,
        clock: Clock | None = None,
    ) -> None:
        self._catalog = catalog
        self._directory = directory
        self._connections = connections
        self._catch_up = catch_up
        self._hold_expiries = hold_expiries
        self._retention = retention
        self._every_s = every_s
        self._clock = clock
        self._owner = uuid4()

    async def reconcile_due(self) -> bool:
        """Reconcile a tenant that is due; answers whether there was one.

        Raises:
            Unavailable: The catalog does not answer.
            ClocksDisagree: The catalog's clock, by which the next time is set, is wrong.
        """
        self._catalog.agreed_now()
        row = await self._catalog.fetchrow(_QUERIES["claim"], self._owner, _LEASE_S)
        if row is None:
            return False

        async def renew() -> bool:
            renewed = await self._catalog.fetchrow(
                _QUERIES["renew"], self._owner, _LEASE_S, row["tenant_id"]
            )
            return renewed is not None

        try:
            async with kept(renew, lease_s=_LEASE_S):
                if not await self._reconcile(row):
                    await self._catalog.execute(
                        _QUERIES["postpone"], self._owner, row["tenant_id"], row["epoch"], _RETRY_S
                    )
        except Exception:  # noqa: BLE001 (one tenant's fault must not delay the others)
            _log.exception("could not reconcile", tenant_id=row["tenant_id"])
        return True

    async def _reconcile(self, row: Record) -> bool:
        """Reconcile one tenant; answer whether that was done."""
        tenant_id = row["tenant_id"]
        home = await self._directory.home(tenant_id)
        if home is None:
            return False
        if home.epoch != row["epoch"]:
            # This process has yet to learn of a restore, which makes the tenant due again.
            _log.info("not reconciled while restored", tenant_id=tenant_id)
            return False
        # First: a ledger that cannot be examined in time would keep its expired keys for ever.
        self._retention.take_up(tenant_id)
        try:
            stuck = await self._project(tenant_id)
            async with self._connections.use(home) as connection:
                findings, head = await examine(
                    connection, row["anchor_seq"], row["anchor_hash"], self._clock
                )
        except DomainError as error:
            _log.warning("could not reconcile", tenant_id=tenant_id, fault=error.detail)
            return False
        await self._record(home, stuck + findings, head)
        return True

    async def _project(self, tenant_id: str) -> list[Finding]:
        """Bring the state up to the ledger first. A ledger that was tampered with may refuse."""
        try:
            projection = await self._catch_up.project(tenant_id)
        except asyncpg.PostgresError as error:
            _log.exception("the ledger cannot be projected", tenant_id=tenant_id, fault=repr(error))
            return [Finding("projection-fails")]
        await self._hold_expiries.save(tenant_id, projection.next_hold_expiry)
        return []

    async def _record(self, home: Home, findings: list[Finding], head: Head) -> None:
        # A ledger that does not fit keeps its old anchor, as evidence.
        anchored = not findings and head.seq > 0
        await self._catalog.execute(
            _QUERIES["record"],
            self._owner,
            home.tenant_id,
            home.epoch,
            self._every_s,
            orjson.dumps([asdict(finding) for finding in findings[:_FINDINGS_MAX]]).decode(),
            head.seq if anchored else None,
            head.hash if anchored else None,
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
    connection: Connection, anchor_seq: int, anchor_hash: bytes | None, clock: Clock | None = None
) -> tuple[list[Finding], Head]:
    """Compare a tenant's state and ledger with each other and with an anchor kept outside."""
    await ledger.make_partitions(connection, clock)
    findings = await compare(connection, anchor_seq, anchor_hash)
    head = await ledger.head(connection)
    proof = await ledger.verify(connection, max(anchor_seq, 1))
    if not proof.ok:
        findings.insert(0, Finding("chain-broken", seq=proof.first_bad_seq))
    return findings, head
