"""Backups in the catalog: what there is of each tenant, what is due, what may go."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from freehold.contracts.backups import Backup
from freehold.ledger.client import Connection
from freehold_tenant_manager.storage.objects import Stored

_COLUMNS = (
    "backup_id, tenant_id, status, object_path, epoch, schema_version, head_seq, head_hash,"
    " head_recorded_at, created_at, bytes, sha256, verified_at"
)


@dataclass(frozen=True, slots=True)
class BackupRow:
    """A backup's row. Size and checksum are None while it is being made."""

    backup_id: UUID
    tenant_id: str
    status: str
    object_path: str
    epoch: int
    schema_version: int
    head_seq: int
    head_hash: bytes
    head_recorded_at: datetime | None
    created_at: datetime
    bytes: int | None
    sha256: str | None
    verified_at: datetime | None

    def shown(self) -> Backup:
        """Give what an operator sees of it."""
        return Backup.model_validate(
            {
                "backup_id": self.backup_id,
                "tenant_id": self.tenant_id,
                "status": self.status,
                "epoch": self.epoch,
                "schema_version": self.schema_version,
                "head_seq": self.head_seq,
                "head_hash": self.head_hash.hex() if self.head_seq else None,
                "events": self.head_seq,
                "created_at": self.created_at,
                "bytes": self.bytes,
                "sha256": self.sha256,
                "verified_at": self.verified_at,
            }
        )


async def begin_backup(
    connection: Connection,
    *,
    backup_id: UUID,
    tenant_id: str,
    object_path: str,
    epoch: int,
    schema_version: int,
    head_seq: int,
    head_hash: bytes,
    head_recorded_at: datetime | None,
) -> str | None:
    """Write down that a backup is being made; again, where an earlier try was cut short.

    Returns:
        Where the earlier try has stored it, or was about to.
    """
    earlier: str | None = await connection.fetchval(
        "WITH earlier AS (SELECT object_path FROM backups WHERE backup_id = $1)"
        " INSERT INTO backups AS b (backup_id, tenant_id, object_path, epoch, schema_version,"
        " head_seq, head_hash, head_recorded_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        " ON CONFLICT ON CONSTRAINT backups_pkey DO UPDATE SET object_path = $3, epoch = $4,"
        " schema_version = $5, head_seq = $6, head_hash = $7, head_recorded_at = $8,"
        " created_at = now() WHERE b.status = 'making'"
        " RETURNING (SELECT object_path FROM earlier)",
        backup_id,
        tenant_id,
        object_path,
        epoch,
        schema_version,
        head_seq,
        head_hash,
        head_recorded_at,
    )
    return earlier


async def complete_backup(
    connection: Connection, backup_id: UUID, object_path: str, stored: Stored
) -> bool:
    """Write down that a backup is stored whole; answer whether this try is the one that counts."""
    command = await connection.execute(
        "UPDATE backups SET status = 'complete', bytes = $3, sha256 = $4"
        " WHERE backup_id = $1 AND object_path = $2 AND status = 'making'",
        backup_id,
        object_path,
        stored.bytes,
        stored.sha256,
    )
    return command != "UPDATE 0"


async def find_backup(connection: Connection, tenant_id: str, backup_id: UUID) -> BackupRow | None:
    """Give a tenant's backup, made or found damaged; None where there is none of this id."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM backups"  # noqa: S608 (our own column names)
        " WHERE tenant_id = $1 AND backup_id = $2 AND status IN ('complete', 'damaged')",
        tenant_id,
        backup_id,
    )
    return None if row is None else BackupRow(**row)


async def find_last_backup(connection: Connection, tenant_id: str) -> BackupRow | None:
    """Give the newest backup that can be relied on; None where there is none."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM backups"  # noqa: S608 (our own column names)
        " WHERE tenant_id = $1 AND status = 'complete' ORDER BY created_at DESC LIMIT 1",
        tenant_id,
    )
    return None if row is None else BackupRow(**row)


async def list_backups(
    connection: Connection, tenant_id: str, *, after: UUID | None, rows_max: int
) -> list[BackupRow]:
    """List a tenant's backups, the newest first, after the one of a given id."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM backups"  # noqa: S608 (our own column names)
        " WHERE tenant_id = $1 AND status IN ('complete', 'damaged')"
        " AND ($2::uuid IS NULL OR (created_at, backup_id) < ("
        "  SELECT created_at, backup_id FROM backups WHERE backup_id = $2"
        " )) ORDER BY created_at DESC, backup_id DESC LIMIT $3",
        tenant_id,
        after,
        rows_max,
    )
    return [BackupRow(**row) for row in rows]


async def note_verification(connection: Connection, backup_id: UUID, *, ok: bool) -> None:
    """Write down what restoring a backup on trial has shown."""
    await connection.execute(
        "UPDATE backups SET status = CASE WHEN $2 THEN 'complete' ELSE 'damaged' END,"
        " verified_at = CASE WHEN $2 THEN now() ELSE verified_at END"
        " WHERE backup_id = $1 AND status IN ('complete', 'damaged')",
        backup_id,
        ok,
    )


async def list_due_backups(
    connection: Connection, *, every_s: float, retry_s: float, rows_max: int
) -> Sequence[str]:
    """List tenants whose next backup is due and not asked for, the longest due first.

    A tenant's first one is due at a moment of its own within the first period, so that those made
    together are not backed up together for ever after.
    """
    rows = await connection.fetch(
        "SELECT tenant_id FROM ("
        "  SELECT t.tenant_id, coalesce("
        "    (SELECT max(b.created_at) FROM backups AS b"
        "     WHERE b.tenant_id = t.tenant_id AND b.status = 'complete')"
        "     + make_interval(secs => $1),"
        "    t.created_at + make_interval("
        "     secs => $1 * (hashtext(t.tenant_id)::bigint + 2147483648) / 4294967296)"
        "  ) AS due_at FROM tenants AS t WHERE t.status IN ('active', 'suspended')"
        " ) AS d WHERE due_at <= now() AND NOT EXISTS ("
        "  SELECT FROM operations AS o WHERE o.tenant_id = d.tenant_id AND o.kind = 'backup'"
        "  AND (o.status IN ('queued', 'running') OR o.status = 'failed'"
        "   AND o.finished_at > now() - make_interval(secs => $2))"
        " ) ORDER BY due_at LIMIT $3",
        every_s,
        retry_s,
        rows_max,
    )
    return [row["tenant_id"] for row in rows]


async def list_due_verifications(
    connection: Connection, *, every_s: float, retry_s: float, rows_max: int
) -> list[tuple[str, UUID]]:
    """List tenants none of whose backups was verified for so long, each with the newest one."""
    rows = await connection.fetch(
        "SELECT DISTINCT ON (b.tenant_id) b.tenant_id, b.backup_id FROM backups AS b"
        " INNER JOIN tenants AS t ON t.tenant_id = b.tenant_id"
        " WHERE b.status = 'complete' AND t.status IN ('active', 'suspended')"
        # Once a period has passed since the first, so that all of them are not due at once.
        " AND (SELECT coalesce(max(v.verified_at), min(v.created_at)) FROM backups AS v"
        "  WHERE v.tenant_id = b.tenant_id) < now() - make_interval(secs => $1)"
        " AND NOT EXISTS (SELECT FROM operations AS o"
        "  WHERE o.tenant_id = b.tenant_id AND o.kind = 'backup-verification'"
        "  AND (o.status IN ('queued', 'running') OR o.status = 'failed'"
        "   AND o.finished_at > now() - make_interval(secs => $2)))"
        " ORDER BY b.tenant_id, b.created_at DESC LIMIT $3",
        every_s,
        retry_s,
        rows_max,
    )
    return [(row["tenant_id"], row["backup_id"]) for row in rows]


async def count_asked(connection: Connection) -> int:
    """Count the backups and verifications that are asked for and not done."""
    return int(
        await connection.fetchval(
            "SELECT count(*) FROM operations WHERE status IN ('queued', 'running')"
            " AND kind IN ('backup', 'backup-verification')"
        )
    )


async def list_superfluous(
    connection: Connection, *, keep_s: float, abandoned_s: float
) -> list[BackupRow]:
    """List backups that may go as far as their age says, and those that were condemned before.

    Of a tenant stay: all that are younger than is asked for; the last one that is not, since
    without it the time between it and the next could not be restored; the last that was verified.
    Of a deleted tenant the young ones alone stay.
    """
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM backups AS b"  # noqa: S608 (our own column names)
        " WHERE b.status = 'deleting'"
        " OR b.status = 'making' AND b.created_at < now() - make_interval(secs => $2)"
        " OR b.status IN ('complete', 'damaged')"
        " AND b.created_at < now() - make_interval(secs => $1)"
        " AND (b.status = 'damaged' OR EXISTS (SELECT FROM tenants AS t"
        "   WHERE t.tenant_id = b.tenant_id AND t.status = 'deleted') OR ("
        "  EXISTS (SELECT FROM backups AS n WHERE n.tenant_id = b.tenant_id"
        "   AND n.status = 'complete' AND n.created_at > b.created_at"
        "   AND n.created_at < now() - make_interval(secs => $1))"
        "  AND (b.verified_at IS NULL OR EXISTS (SELECT FROM backups AS v"
        "   WHERE v.tenant_id = b.tenant_id AND v.status = 'complete'"
        "   AND v.verified_at IS NOT NULL AND v.created_at > b.created_at))"
        " )) ORDER BY b.created_at",
        keep_s,
        abandoned_s,
    )
    return [BackupRow(**row) for row in rows]


async def condemn_backup(connection: Connection, backup: BackupRow) -> bool:
    """Have nobody restore a backup any more; False where it has become something else meanwhile."""
    return bool(
        await connection.fetchval(
            "UPDATE backups SET status = 'deleting' WHERE backup_id = $1 AND status = $2"
            " RETURNING true",
            backup.backup_id,
            backup.status,
        )
    )


async def forget_backup(connection: Connection, backup_id: UUID) -> None:
    """Forget a backup that is gone from storage."""
    await connection.execute(
        "DELETE FROM backups WHERE backup_id = $1 AND status = 'deleting'", backup_id
    )
