"""What an operator is shown of a tenant: the catalog's facts, and what the tenant's database says.

The database is asked as its read-only auditor and within a deadline; where it does not answer, the
rest is still shown.
"""

import asyncio
from dataclasses import dataclass

import asyncpg
import orjson
import structlog

from freehold.contracts.problems import Problem
from freehold.contracts.tenants import LedgerHead, ProjectionLag, Reconciliation, TenantDetails
from freehold.ledger import client
from freehold.ledger.client import Record
from freehold.security.sealing import KeyRing, SealingError
from freehold.tenancy.catalog import Catalog
from freehold.tenancy.connections import TenantConnections
from freehold.tenancy.homes import Home
from freehold_tenant_manager.catalog.credentials import find_home
from freehold_tenant_manager.catalog.tenants import find_reconciliation, find_tenant

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Ledger:
    """What a tenant's own database says."""

    size_bytes: int
    head: LedgerHead
    lag: ProjectionLag


class Overview:
    """Looks tenants up, in the catalog and in their own databases."""

    def __init__(
        self,
        catalog: Catalog,
        connections: TenantConnections,
        key_ring: KeyRing,
        *,
        timeout_s: float,
    ) -> None:
        """Say where to look, and how long one tenant's database may take."""
        self._catalog = catalog
        self._connections = connections
        self._key_ring = key_ring
        self._timeout_s = timeout_s

    async def details(self, tenant_id: str) -> TenantDetails | None:
        """Give all there is to know of a tenant; None where there is no such tenant.

        Raises:
            Problem: unavailable, where the catalog does not answer.
        """
        home: Home | None = None
        async with self._catalog.connection() as connection:
            tenant = await find_tenant(connection, tenant_id)
            if tenant is None:
                return None
            reconciliation = await find_reconciliation(connection, tenant_id)
            try:
                home = await find_home(connection, self._key_ring, tenant_id, "auditor")
            except SealingError as error:
                _log.warning("credential does not open", tenant_id=tenant_id, fault=str(error))
        # The catalog's connection is given back first: a slow tenant must not keep it.
        ledger = await self._ask(home) if home else None
        return TenantDetails(
            **dict(tenant.shown()),
            size_bytes=ledger.size_bytes if ledger else None,
            head=ledger.head if ledger else None,
            lag=ledger.lag if ledger else None,
            reconciliation=_reconciliation(reconciliation) if reconciliation else None,
        )

    async def _ask(self, home: Home) -> _Ledger | None:
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._connections.use(home) as connection,
            ):
                head = await client.head(connection)
                lag = await client.projection_lag(connection)
                size_bytes: int = await connection.fetchval(
                    "SELECT pg_database_size(current_database())"
                )
        except (
            Problem,
            OSError,
            TimeoutError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
        ) as error:
            _log.warning("tenant database silent", tenant_id=home.tenant_id, fault=repr(error))
            return None
        return _Ledger(
            size_bytes,
            LedgerHead(
                seq=head.seq,
                event_id=head.event_id if head.seq else None,
                hash=head.hash.hex() if head.seq else None,
                recorded_at=head.recorded_at if head.seq else None,
            ),
            ProjectionLag(
                head_seq=lag.head_seq,
                projected_seq=lag.projected_seq,
                events_behind=lag.events_behind,
                seconds_behind=lag.seconds_behind,
            ),
        )


def _reconciliation(row: Record) -> Reconciliation:
    findings = orjson.loads(row["findings"])
    return Reconciliation(
        reconciled_at=row["reconciled_at"],
        ok=None if row["reconciled_at"] is None else findings == [],
        findings=findings,
        anchor_seq=row["anchor_seq"],
    )
