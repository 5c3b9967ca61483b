"""The swap: in one transaction of the catalog, a tenant lives in the database that was restored.

Before it everybody finds the old database, and after it the new one with the epoch raised.
"""

from dataclasses import dataclass
from datetime import datetime

from freehold.ledger.client import Connection
from freehold_tenant_manager.archive.segments import Position


@dataclass(frozen=True, slots=True)
class Swap:
    """What is swapped for what."""

    tenant_id: str
    old_database: str
    new_database: str
    old_epoch: int
    new_epoch: int
    schema_version: int
    services_version_min: int
    parent_epoch: int
    start_at: datetime
    start: Position


async def swap(connection: Connection, wanted: Swap) -> bool:
    """Swap; False where the tenant does not live in the old database with the old epoch."""
    async with connection.transaction():
        changed = await connection.fetchval(
            "UPDATE tenants SET database_name = $4, epoch = $5, schema_version = $6,"
            " services_version_min = greatest(services_version_min, $7)"
            " WHERE tenant_id = $1 AND database_name = $2 AND epoch = $3 RETURNING true",
            wanted.tenant_id,
            wanted.old_database,
            wanted.old_epoch,
            wanted.new_database,
            wanted.new_epoch,
            wanted.schema_version,
            wanted.services_version_min,
        )
        if not changed:
            return False
        await _exchange_credentials(connection, wanted)
        await _begin_epoch(connection, wanted)
    return True


async def _exchange_credentials(connection: Connection, wanted: Swap) -> None:
    await connection.execute(
        "INSERT INTO former_databases (database_name, tenant_id, kind, epoch)"
        " VALUES ($1, $2, 'former', $3)",
        wanted.old_database,
        wanted.tenant_id,
        wanted.old_epoch,
    )
    await connection.execute(
        "INSERT INTO former_credentials"
        " (database_name, service, role_name, sealing_key_id, sealed_password)"
        " SELECT $2, service, role_name, sealing_key_id, sealed_password"
        " FROM tenant_credentials WHERE tenant_id = $1",
        wanted.tenant_id,
        wanted.old_database,
    )
    await connection.execute(
        "INSERT INTO tenant_credentials AS c"
        " (tenant_id, service, role_name, sealing_key_id, sealed_password)"
        " SELECT $1, service, role_name, sealing_key_id, sealed_password"
        " FROM former_credentials WHERE database_name = $2"
        " ON CONFLICT ON CONSTRAINT tenant_credentials_pkey DO UPDATE"
        " SET role_name = excluded.role_name, sealing_key_id = excluded.sealing_key_id,"
        " sealed_password = excluded.sealed_password",
        wanted.tenant_id,
        wanted.new_database,
    )
    await connection.execute(
        "DELETE FROM former_databases WHERE database_name = $1", wanted.new_database
    )


async def _begin_epoch(connection: Connection, wanted: Swap) -> None:
    start = wanted.start
    await connection.execute(
        "INSERT INTO tenant_epochs"
        " (tenant_id, epoch, started_at, parent_epoch, start_at, start_seq, start_change,"
        " archived_seq, archived_event_id, archived_hash, archived_change)"
        " VALUES ($1, $2, clock_timestamp(), $3, $4, $5, $6, $5, $7, $8, $6)",
        wanted.tenant_id,
        wanted.new_epoch,
        wanted.parent_epoch,
        wanted.start_at,
        start.seq,
        start.change,
        start.event_id,
        start.hash,
    )
    # What was noted of the other history's head says nothing about this one's.
    await connection.execute(
        "UPDATE reconciliations SET epoch = $2, anchor_seq = $3, anchor_hash = $4, due_at = now()"
        " WHERE tenant_id = $1",
        wanted.tenant_id,
        wanted.new_epoch,
        start.seq,
        start.hash if start.seq else None,
    )
