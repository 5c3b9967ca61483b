"""Databases beside tenants' own: what a tenant had before a restore, previews, and those in making.

Each is written down before it is made and forgotten after it is dropped, so that none is ever lost
sight of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from freehold.contracts.restores import FormerDatabase
from freehold.ledger.client import Connection, Record
from freehold.security.sealing import KeyRing
from freehold_tenant_manager.catalog.credentials import Credential, open_passwords

_COLUMNS = "database_name, tenant_id, kind, epoch, restored_to, operation_id, created_at"


@dataclass(frozen=True, slots=True)
class FormerRow:
    """One of those databases."""

    database_name: str
    tenant_id: str
    kind: Literal["making", "preview", "former"]
    epoch: int
    restored_to: datetime | None
    operation_id: UUID | None
    created_at: datetime

    def shown(self) -> FormerDatabase:
        """Give what an operator sees of it."""
        return FormerDatabase(
            name=self.database_name,
            kind=self.kind,
            epoch=self.epoch,
            restored_to=self.restored_to,
            created_at=self.created_at,
        )


async def add_making(
    connection: Connection,
    database_name: str,
    credentials: Sequence[Credential],
    tenant_id: str,
    epoch: int,
    operation_id: UUID,
) -> None:
    """Write down a database that is to be made, and its roles' passwords."""
    async with connection.transaction():
        await connection.execute(
            "INSERT INTO former_databases (database_name, tenant_id, kind, epoch, operation_id)"
            " VALUES ($1, $2, 'making', $3, $4)",
            database_name,
            tenant_id,
            epoch,
            operation_id,
        )
        await connection.executemany(
            "INSERT INTO former_credentials"
            " (database_name, service, role_name, sealing_key_id, sealed_password)"
            " VALUES ($1, $2, $3, $4, $5)",
            [(database_name, *credential) for credential in credentials],
        )


async def find_former(
    connection: Connection, tenant_id: str, database_name: str
) -> FormerRow | None:
    """Give one of a tenant's databases beside their own."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM former_databases"  # noqa: S608 (our own column names)
        " WHERE tenant_id = $1 AND database_name = $2",
        tenant_id,
        database_name,
    )
    return None if row is None else _read(row)


async def list_formers(
    connection: Connection, tenant_id: str, *, after: str | None = None, rows_max: int = 1000
) -> list[FormerRow]:
    """List a tenant's databases beside their own, the oldest first."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM former_databases"  # noqa: S608 (our own column names)
        " WHERE tenant_id = $1 AND ($2::text IS NULL OR (created_at, database_name) > ("
        "  SELECT created_at, database_name FROM former_databases"
        "  WHERE tenant_id = $1 AND database_name = $2"
        " )) ORDER BY created_at, database_name LIMIT $3",
        tenant_id,
        after,
        rows_max,
    )
    return [_read(row) for row in rows]


async def is_being_made(connection: Connection, database_name: str) -> bool:
    """Say whether a restore still works on a database, or is about to go on with it."""
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM former_databases AS f INNER JOIN operations AS o"
            " ON o.operation_id = f.operation_id"
            " WHERE f.database_name = $1 AND o.status IN ('queued', 'running'))",
            database_name,
        )
    )


async def list_abandoned(connection: Connection) -> list[tuple[str, str]]:
    """List databases that were being made, and are not any more: each with its tenant first."""
    rows = await connection.fetch(
        "SELECT tenant_id, database_name FROM former_databases AS f WHERE kind = 'making'"
        " AND NOT EXISTS (SELECT FROM operations AS o WHERE o.operation_id = f.operation_id"
        "  AND o.status IN ('queued', 'running')) ORDER BY created_at"
    )
    return [(row["tenant_id"], row["database_name"]) for row in rows]


async def find_former_passwords(
    connection: Connection, key_ring: KeyRing, database_name: str
) -> dict[str, str]:
    """Give the passwords of such a database's roles, by service.

    Raises:
        SealingError: One does not open.
    """
    rows = await connection.fetch(
        "SELECT service, role_name, sealing_key_id, sealed_password FROM former_credentials"
        " WHERE database_name = $1",
        database_name,
    )
    return open_passwords(key_ring, rows)


async def keep_as_preview(
    connection: Connection, database_name: str, restored_to: datetime
) -> None:
    """Say that a database is made, and stays beside."""
    await connection.execute(
        "UPDATE former_databases SET kind = 'preview', restored_to = $2 WHERE database_name = $1",
        database_name,
        restored_to,
    )


async def remove_former(connection: Connection, database_name: str) -> None:
    """Forget a database that is there no more."""
    await connection.execute("DELETE FROM former_databases WHERE database_name = $1", database_name)


def _read(row: Record) -> FormerRow:
    return FormerRow(**row)
