"""A tenant's epochs in the catalog: how each history came about, and how far it was archived."""

from uuid import UUID

from freehold.ledger.client import Connection, Record
from freehold_tenant_manager.archive.segments import BEGINNING, Position
from freehold_tenant_manager.restore.history import Base, EpochRow

_COLUMNS = (
    "epoch, started_at, parent_epoch, start_at, start_seq, start_change, archived_seq,"
    " archived_event_id, archived_hash, archived_change, archived_at, fault"
)


async def claim_epoch(
    connection: Connection,
    tenant_id: str,
    epoch: int,
    claim: UUID,
    lease_s: float,
    *,
    even_if_claimed: bool,
) -> EpochRow | None:
    """Begin to archive an epoch; None while another process does, unless that is no matter.

    The first time, its row is made: every epoch but the first is begun by a restore.
    """
    row = await connection.fetchrow(
        "INSERT INTO tenant_epochs AS e"  # noqa: S608 (our own column names)
        " (tenant_id, epoch, started_at, start_seq, start_change, archived_seq, archived_event_id,"
        " archived_hash, archived_change, claim, claimed_until)"
        " SELECT t.tenant_id, $2, t.created_at, 0, 0, 0, $5, $6, 0, $3,"
        " now() + make_interval(secs => $4)"
        " FROM tenants AS t WHERE t.tenant_id = $1"
        " ON CONFLICT ON CONSTRAINT tenant_epochs_pkey DO UPDATE"
        " SET claim = excluded.claim, claimed_until = excluded.claimed_until"
        " WHERE e.claimed_until IS NULL OR e.claimed_until < now() OR e.claim = excluded.claim"
        " OR $7::boolean"
        f" RETURNING {_COLUMNS}",
        tenant_id,
        epoch,
        claim,
        lease_s,
        BEGINNING.event_id,
        BEGINNING.hash,
        even_if_claimed,
    )
    return None if row is None else _read(row)


async def note_archived(
    connection: Connection, tenant_id: str, epoch: int, end: Position, claim: UUID, lease_s: float
) -> None:
    """Note how far an epoch is archived, which never goes back, and go on with it."""
    await connection.execute(
        "UPDATE tenant_epochs SET archived_seq = $3, archived_event_id = $4, archived_hash = $5,"
        " archived_change = $6, archived_at = now(), claimed_until ="
        "  CASE claim WHEN $7 THEN now() + make_interval(secs => $8) ELSE claimed_until END"
        " WHERE tenant_id = $1 AND epoch = $2 AND archived_seq <= $3 AND archived_change <= $6",
        tenant_id,
        epoch,
        end.seq,
        end.event_id,
        end.hash,
        end.change,
        claim,
        lease_s,
    )


async def release_epoch(
    connection: Connection,
    tenant_id: str,
    epoch: int,
    claim: UUID,
    *,
    fault: str | None,
    due_in_s: float,
) -> None:
    """Let others archive an epoch; say what was wrong, and when to look again at the latest."""
    await connection.execute(
        "UPDATE tenant_epochs SET claim = NULL, claimed_until = NULL, fault = $4,"
        " due_at = now() + make_interval(secs => $5)"
        " WHERE tenant_id = $1 AND epoch = $2 AND claim = $3",
        tenant_id,
        epoch,
        claim,
        fault,
        due_in_s,
    )


async def claim_due(connection: Connection, *, tenants_max: int, again_s: float) -> list[str]:
    """Give tenants who are to be looked at, and nobody else the same ones for a while."""
    rows = await connection.fetch(
        "UPDATE tenant_epochs AS e SET due_at = now() + make_interval(secs => $2)"
        " FROM ("
        "  SELECT c.tenant_id, c.epoch FROM tenant_epochs AS c"
        "  INNER JOIN tenants AS t ON t.tenant_id = c.tenant_id AND t.epoch = c.epoch"
        "  WHERE c.due_at <= now() ORDER BY c.due_at LIMIT $1 FOR UPDATE OF c SKIP LOCKED"
        " ) AS due WHERE e.tenant_id = due.tenant_id AND e.epoch = due.epoch"
        " RETURNING e.tenant_id",
        tenants_max,
        again_s,
    )
    return [row["tenant_id"] for row in rows]


async def list_never_archived(
    connection: Connection, *, tenants_max: int, older_than_s: float
) -> list[str]:
    """List tenants of whom nothing was ever archived, but for those who are new."""
    rows = await connection.fetch(
        "SELECT t.tenant_id FROM tenants AS t WHERE t.status IN ('active', 'suspended')"
        " AND t.created_at < now() - make_interval(secs => $2)"
        " AND NOT EXISTS (SELECT FROM tenant_epochs AS e WHERE e.tenant_id = t.tenant_id)"
        " ORDER BY t.created_at LIMIT $1",
        tenants_max,
        older_than_s,
    )
    return [row["tenant_id"] for row in rows]


async def list_epochs(connection: Connection, tenant_id: str) -> list[EpochRow]:
    """List a tenant's epochs, the first one first."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM tenant_epochs WHERE tenant_id = $1 ORDER BY epoch",  # noqa: S608
        tenant_id,
    )
    return [_read(row) for row in rows]


async def forget_epochs(connection: Connection, tenant_id: str) -> None:
    """Forget the epochs of a deleted tenant, whose segments are gone from storage."""
    await connection.execute(
        "DELETE FROM tenant_epochs AS e USING tenants AS t WHERE e.tenant_id = $1"
        " AND t.tenant_id = e.tenant_id AND t.status = 'deleted'",
        tenant_id,
    )


async def list_bases(connection: Connection, tenant_id: str) -> list[Base]:
    """List the backups that a restore can begin with, the oldest first."""
    rows = await connection.fetch(
        "SELECT backup_id, epoch, head_seq, head_hash, created_at, object_path AS path, sha256"
        " FROM backups WHERE tenant_id = $1 AND status = 'complete' ORDER BY created_at",
        tenant_id,
    )
    return [Base(**row) for row in rows]


def _read(row: Record) -> EpochRow:
    return EpochRow(
        row["epoch"],
        row["started_at"],
        row["parent_epoch"],
        row["start_at"],
        row["start_seq"],
        row["start_change"],
        Position(
            row["archived_seq"],
            row["archived_event_id"],
            row["archived_hash"],
            row["archived_change"],
        ),
        row["archived_at"],
        row["fault"],
    )
