"""Shows a tenant: what the catalog has, and what the tenant's own database answers."""

from dataclasses import dataclass

import orjson

from freehold.ledger import client
from freehold.ledger.client import Connection, Record
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.archive.epochs import list_epochs
from freehold_tenant_manager.backups.store import find_last_backup
from freehold_tenant_manager.contracts.tenants import (
    LedgerHead,
    ProjectionLag,
    Reconciliation,
    TenantDetails,
)
from freehold_tenant_manager.overview.ledgers import Ledgers
from freehold_tenant_manager.tenants.store import find_reconciliation, require_tenant


@dataclass(frozen=True, slots=True)
class _Ledger:
    """What a tenant's own database answers."""

    size_bytes: int
    head: LedgerHead
    lag: ProjectionLag


class Overview:
    """Looks tenants up, in the catalog and in their own databases."""

    def __init__(self, catalog: Catalog, ledgers: Ledgers) -> None:
        """Set where to look."""
        self._catalog = catalog
        self._ledgers = ledgers

    async def details(self, tenant_id: str) -> TenantDetails:
        """Give everything about a tenant.

        Raises:
            NotFound: There is no such tenant.
            Unavailable: The catalog does not answer.
        """
        async with self._catalog.connection() as connection:
            tenant = await require_tenant(connection, tenant_id)
            reconciliation = await find_reconciliation(connection, tenant_id)
            last_backup = await find_last_backup(connection, tenant_id)
            epochs = await list_epochs(connection, tenant_id)
            home = await self._ledgers.home(connection, tenant_id)
        # The catalog's connection is released first, so that a slow database does not occupy it.
        ledger = await self._ledgers.ask(home, _ledger) if home else None
        return TenantDetails(
            **dict(tenant.shown()),
            size_bytes=ledger.size_bytes if ledger else None,
            head=ledger.head if ledger else None,
            lag=ledger.lag if ledger else None,
            reconciliation=_reconciliation(reconciliation) if reconciliation else None,
            last_backup=last_backup.shown() if last_backup else None,
            archive=epochs[-1].shown() if epochs else None,
        )


async def _ledger(connection: Connection) -> _Ledger:
    head = await client.head(connection)
    lag = await client.projection_lag(connection)
    size_bytes: int = await connection.fetchval("SELECT pg_database_size(current_database())")
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
