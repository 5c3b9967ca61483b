"""Backups in the catalog: what there is of each tenant, what is due, what may go."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection
from freehold_tenant_manager.contracts.backups import Backup
from freehold_tenant_manager.storage.objects import Stored

_QUERIES = load_queries("freehold_tenant_manager.backups", "queries.sql")
_MADE = ["complete", "damaged"]


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
    created_at: datetime
    bytes: int | None
    sha256: str | None
    verified_at: datetime | None

    def shown(self) -> Backup:
        """Give what the API shows of it."""
        head_hash = self.head_hash.hex() if self.head_seq else None
        return Backup.model_validate(
            asdict(self) | {"head_hash": head_hash, "events": self.head_seq}
        )


class Superfluous(NamedTuple):
    """A backup that may go."""

    backup_id: UUID
    tenant_id: str
    status: str
    object_path: str


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
) -> str | None:
    """Record that a backup is being made, perhaps after an earlier try.

    Returns:
        The path of the object that the earlier try has stored or was storing.
    """
    earlier: str | None = await connection.fetchval(
        _QUERIES["begin_backup"],
        backup_id,
        tenant_id,
        object_path,
        epoch,
        schema_version,
        head_seq,
        head_hash,
    )
    return earlier


async def complete_backup(
    connection: Connection, backup_id: UUID, object_path: str, stored: Stored
) -> bool:
    """Record that a backup is stored whole; give whether this try is the one that counts."""
    counts = await connection.fetchval(
        _QUERIES["complete_backup"], backup_id, object_path, stored.bytes, stored.sha256
    )
    return bool(counts)


async def find_backup(connection: Connection, tenant_id: str, backup_id: UUID) -> BackupRow | None:
    """Give a tenant's backup, complete or damaged; None if there is none of this id."""
    rows = await connection.fetch(_QUERIES["list_backups"], tenant_id, _MADE, backup_id, None, 1)
    return BackupRow(**rows[0]) if rows else None


async def find_last_backup(connection: Connection, tenant_id: str) -> BackupRow | None:
    """Give a tenant's newest complete backup; None if there is none."""
    rows = await connection.fetch(_QUERIES["list_backups"], tenant_id, ["complete"], None, None, 1)
    return BackupRow(**rows[0]) if rows else None


async def list_backups(
    connection: Connection, tenant_id: str, *, after: UUID | None, rows_max: int
) -> list[BackupRow]:
    """List a tenant's backups, the newest first, after the one of a given id."""
    rows = await connection.fetch(_QUERIES["list_backups"], tenant_id, _MADE, None, after, rows_max)
    return [BackupRow(**row) for row in rows]


async def record_verification(connection: Connection, backup_id: UUID, *, ok: bool) -> None:
    """Record whether a backup could be restored on trial."""
    await connection.execute(_QUERIES["record_verification"], backup_id, ok)


async def list_due_backups(
    connection: Connection, *, every_s: float, retry_s: float, rows_max: int
) -> Sequence[str]:
    """List tenants whose next backup is due and not asked for, the longest due first.

    A tenant's first backup is due at some moment within the first period, which spreads the
    backups of tenants that were made together.
    """
    rows = await connection.fetch(_QUERIES["list_due_backups"], every_s, retry_s, rows_max)
    return [row["tenant_id"] for row in rows]


async def list_due_verifications(
    connection: Connection, *, every_s: float, retry_s: float, rows_max: int
) -> list[tuple[str, UUID]]:
    """List tenants whose last verification is `every_s` ago, each with their newest backup."""
    rows = await connection.fetch(_QUERIES["list_due_verifications"], every_s, retry_s, rows_max)
    return [(row["tenant_id"], row["backup_id"]) for row in rows]


async def count_asked(connection: Connection) -> int:
    """Count the backups and verifications that are asked for and not done."""
    return int(await connection.fetchval(_QUERIES["count_asked"]))


async def list_superfluous(
    connection: Connection, *, keep_s: float, abandoned_s: float
) -> list[Superfluous]:
    """List backups that may go by their age, and those that were condemned before.

    A tenant keeps three kinds: all that are younger than `keep_s`; the last one that is older,
    since restores to the time before the next begin with it; and the last one that was verified.
    A deleted tenant keeps the first kind only.
    """
    rows = await connection.fetch(_QUERIES["list_superfluous"], keep_s, abandoned_s)
    return [Superfluous(*row) for row in rows]


async def condemn_backup(connection: Connection, backup: Superfluous) -> bool:
    """Keep restores from using a backup; False if its status has changed meanwhile."""
    condemned = await connection.fetchval(
        _QUERIES["condemn_backup"], backup.backup_id, backup.status
    )
    return bool(condemned)


async def forget_backup(connection: Connection, backup_id: UUID) -> None:
    """Delete the row of a backup that the storage no longer has."""
    await connection.execute(_QUERIES["forget_backup"], backup_id)
