"""A tenant's epochs in the catalog: how each history began, and how far it is archived."""

from dataclasses import astuple
from datetime import datetime
from uuid import UUID

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection, Record
from freehold_tenant_manager.archive.history import Base, EpochRow
from freehold_tenant_manager.archive.segments import BEGINNING, Position

_QUERIES = load_queries("freehold_tenant_manager.archive", "queries.sql")


async def claim_epoch(
    connection: Connection,
    tenant_id: str,
    epoch: int,
    owner: UUID,
    lease_s: float,
    *,
    even_if_claimed: bool,
) -> Position | None:
    """Claim an epoch, and give how far it is archived; None while another process has leased it.

    The first claim of a tenant's first epoch makes its row; a restore makes every other one.
    """
    row = await connection.fetchrow(
        _QUERIES["claim_epoch"],
        tenant_id,
        epoch,
        owner,
        lease_s,
        BEGINNING.event_id,
        BEGINNING.hash,
        even_if_claimed,
    )
    return None if row is None else Position(*row)


async def record_archived(
    connection: Connection, tenant_id: str, epoch: int, end: Position, owner: UUID, lease_s: float
) -> None:
    """Record how far an epoch is archived, and renew the lease. The position never goes back."""
    await connection.execute(
        _QUERIES["record_archived"], tenant_id, epoch, *astuple(end), owner, lease_s
    )


async def release_epoch(
    connection: Connection,
    tenant_id: str,
    epoch: int,
    owner: UUID,
    *,
    fault: str | None,
    due_in_s: float,
) -> None:
    """Release an epoch; record what went wrong, and when the epoch is due again."""
    await connection.execute(_QUERIES["release_epoch"], tenant_id, epoch, owner, fault, due_in_s)


async def add_found_epoch(
    connection: Connection,
    tenant_id: str,
    epoch: int,
    started_at: datetime,
    parent_epoch: int | None,
    start: Position,
) -> None:
    """Add an epoch that the storage has and the catalog lacks."""
    await connection.execute(
        _QUERIES["add_found_epoch"], tenant_id, epoch, started_at, parent_epoch, *astuple(start)
    )


async def record_found(connection: Connection, tenant_id: str, epoch: int, end: Position) -> None:
    """Record that the storage has more of an epoch than the catalog says."""
    await connection.execute(_QUERIES["record_found"], tenant_id, epoch, *astuple(end))


async def claim_due(connection: Connection, *, tenants_max: int, again_s: float) -> list[str]:
    """List tenants whose archive is due; for `again_s` seconds no other process gets them."""
    rows = await connection.fetch(_QUERIES["claim_due"], tenants_max, again_s)
    return [row["tenant_id"] for row in rows]


async def list_never_archived(
    connection: Connection, *, tenants_max: int, older_than_s: float
) -> list[str]:
    """List tenants older than `older_than_s` seconds that were never archived."""
    rows = await connection.fetch(_QUERIES["list_never_archived"], tenants_max, older_than_s)
    return [row["tenant_id"] for row in rows]


async def list_epochs(connection: Connection, tenant_id: str) -> list[EpochRow]:
    """List a tenant's epochs, the first one first."""
    rows = await connection.fetch(_QUERIES["list_epochs"], tenant_id)
    return [_read(row) for row in rows]


async def forget_epochs(connection: Connection, tenant_id: str) -> None:
    """Delete the epochs of a deleted tenant, once the storage has none of their segments."""
    await connection.execute(_QUERIES["forget_epochs"], tenant_id)


async def list_bases(connection: Connection, tenant_id: str) -> list[Base]:
    """List the backups that a restore can begin with, the oldest first."""
    rows = await connection.fetch(_QUERIES["list_bases"], tenant_id)
    return [Base(**row) for row in rows]


def _read(row: Record) -> EpochRow:
    values = dict(row)
    archived = Position(
        *(values.pop(f"archived_{name}") for name in ("seq", "event_id", "hash", "change"))
    )
    return EpochRow(archived=archived, **values)
