"""Shows a tenant: what the catalog has, and what the tenant's own database answers.

The database is queried with the control plane's role and within a deadline. If it does not answer,
the rest is still shown.
"""

import asyncio
from dataclasses import dataclass

import asyncpg
import orjson
import structlog

from freehold.contracts.errors import DomainError
from freehold.ledger import client
from freehold.ledger.client import Record
from freehold.security.key_ring import KeyRing, SealingError
from freehold.tenants.catalog import Catalog
from freehold.tenants.connections import TenantConnections
from freehold.tenants.homes import Home
from freehold_tenant_manager.archive.epochs import list_epochs
from freehold_tenant_manager.backups.store import find_last_backup
from freehold_tenant_manager.contracts.tenants import (
    LedgerHead,
    ProjectionLag,
    Reconciliation,
    TenantDetails,
)
from freehold_tenant_manager.credentials.store import find_own_home
from freehold_tenant_manager.tenants.store import find_reconciliation, require_tenant

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Ledger:
    """What a tenant's own database answers."""

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
        """Set where to look; `timeout_s` bounds the queries of one tenant's database."""
        self._catalog = catalog
        self._connections = connections
        self._key_ring = key_ring
        self._timeout_s = timeout_s

    async def details(self, tenant_id: str) -> TenantDetails:
        """Give everything about a tenant.

        Raises:
            NotFound: There is no such tenant.
            Unavailable: The catalog does not answer.
        """
        home: Home | None = None
        async with self._catalog.connection() as connection:
            tenant = await require_tenant(connection, tenant_id)
            reconciliation = await find_reconciliation(connection, tenant_id)
            last_backup = await find_last_backup(connection, tenant_id)
            epochs = await list_epochs(connection, tenant_id)
            try:
                home = await find_own_home(connection, self._key_ring, tenant_id)
            except SealingError as error:
                _log.warning("credential does not open", tenant_id=tenant_id, fault=str(error))
        # The catalog's connection is released first, so that a slow database does not occupy it.
        ledger = await self._ask(home) if home else None
        return TenantDetails(
            **dict(tenant.shown()),
            size_bytes=ledger.size_bytes if ledger else None,
            head=ledger.head if ledger else None,
            lag=ledger.lag if ledger else None,
            reconciliation=_reconciliation(reconciliation) if reconciliation else None,
            last_backup=last_backup.shown() if last_backup else None,
            archive=epochs[-1].shown() if epochs else None,
        )

    async def _ask(self, home: Home) -> _Ledger | None:
        try:
            async with asyncio.timeout(self._timeout_s), self._connections.use(home) as connection:
                head = await client.head(connection)
                lag = await client.projection_lag(connection)
                size_bytes: int = await connection.fetchval(
                    "SELECT pg_database_size(current_database())"
                )
        except (DomainError, TimeoutError, asyncpg.PostgresError) as error:
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
            ProjectionLag.model_validate(lag, from_attributes=True),
        )


def _reconciliation(row: Record) -> Reconciliation:
    findings = orjson.loads(row["findings"])
    return Reconciliation(
        reconciled_at=row["reconciled_at"],
        ok=None if row["reconciled_at"] is None else findings == [],
        findings=findings,
        anchor_seq=row["anchor_seq"],
    )
