"""The catalog's side of a deletion.

With the first step services let nothing more in; after the last, the tenant's id is all that is
left of them.
"""

from dataclasses import dataclass
from uuid import UUID

from freehold.ledger.client import Connection
from freehold_tenant_manager.catalog.tenants import TenantRow, find_tenant, no_tenant


@dataclass(frozen=True, slots=True)
class FinalExport:
    """Where a final export is, and what is stored there: compressed and encrypted.

    The final backup is of the same ledger.
    """

    path: str
    size_bytes: int
    sha256: str
    backup_id: UUID


async def begin_deletion(connection: Connection, tenant_id: str) -> TenantRow:
    """Have services refuse whatever the tenant asks for; again, nothing changes.

    Raises:
        Problem: not-found.
    """
    await connection.execute(
        "UPDATE tenants SET status = 'deleting'"
        " WHERE tenant_id = $1 AND status IN ('active', 'suspended')",
        tenant_id,
    )
    tenant = await find_tenant(connection, tenant_id)
    if tenant is None:
        raise no_tenant()
    return tenant


async def find_restorable(connection: Connection, tenant_id: str) -> TenantRow:
    """Give a tenant whose ledger can be restored, and be it to be deleted after all.

    Raises:
        Problem: not-found, also where the ledger has been removed, or is about to be.
    """
    tenant = await find_tenant(connection, tenant_id)
    if tenant is None or tenant.status in ("provisioning", "deleted"):
        raise no_tenant()
    if tenant.status == "deleting" and await find_final_export(connection, tenant_id) is not None:
        raise no_tenant()
    return tenant


async def withdraw(connection: Connection, tenant_id: str) -> None:
    """Revoke the tenant's keys and forget their roles' passwords."""
    async with connection.transaction():
        await connection.execute(
            "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE tenant_id = $1",
            tenant_id,
        )
        await connection.execute("DELETE FROM tenant_credentials WHERE tenant_id = $1", tenant_id)


async def end_deletion(connection: Connection, tenant_id: str) -> None:
    """Say that the tenant is deleted, and forget what was to be done for them."""
    async with connection.transaction():
        for table in ("reconciliations", "hold_expiries", "announcement_marks"):
            await connection.execute(
                f"DELETE FROM {table} WHERE tenant_id = $1",  # noqa: S608 (named here)
                tenant_id,
            )
        await connection.execute(
            "UPDATE tenants SET status = 'deleted', deleted_at = now()"
            " WHERE tenant_id = $1 AND status = 'deleting'",
            tenant_id,
        )


async def keep_final_export(connection: Connection, tenant_id: str, export: FinalExport) -> None:
    """Note where the last export of a tenant is; one that is made again takes its place."""
    await connection.execute(
        "INSERT INTO final_exports AS f (tenant_id, object_path, size_bytes, sha256, backup_id)"
        " VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT ON CONSTRAINT final_exports_pkey DO UPDATE"
        " SET object_path = excluded.object_path, size_bytes = excluded.size_bytes,"
        " sha256 = excluded.sha256, backup_id = excluded.backup_id, exported_at = now()",
        tenant_id,
        export.path,
        export.size_bytes,
        export.sha256,
        export.backup_id,
    )


async def find_final_export(connection: Connection, tenant_id: str) -> FinalExport | None:
    """Say where the last export of a deleted tenant is; None where there is none."""
    row = await connection.fetchrow(
        "SELECT object_path, size_bytes, sha256, backup_id FROM final_exports WHERE tenant_id = $1",
        tenant_id,
    )
    return None if row is None else FinalExport(*row)
