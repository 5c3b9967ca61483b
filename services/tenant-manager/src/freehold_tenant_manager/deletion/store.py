"""The catalog's side of a deletion.

After the first step services refuse the tenant. After the last only the row in `tenants` is left.
"""

from freehold.database.queries import load_queries
from freehold.ledger.client import Connection
from freehold_tenant_manager.tenants.store import TenantRow, require_tenant

_QUERIES = load_queries("freehold_tenant_manager.deletion", "queries.sql")


async def begin_deletion(connection: Connection, tenant_id: str) -> TenantRow:
    """Have services refuse the tenant; a second call changes nothing.

    Raises:
        NotFound: There is no such tenant.
    """
    await connection.execute(_QUERIES["begin"], tenant_id)
    return await require_tenant(connection, tenant_id)


async def withdraw(connection: Connection, tenant_id: str) -> None:
    """Revoke the tenant's keys, and delete their roles' passwords."""
    async with connection.transaction():
        await connection.execute(_QUERIES["revoke_keys"], tenant_id)
        await connection.execute(_QUERIES["forget_passwords"], tenant_id)


async def end_deletion(connection: Connection, tenant_id: str) -> None:
    """Record that the tenant is deleted; delete their usage, and the work that was due for them."""
    async with connection.transaction():
        await connection.execute(_QUERIES["forget_work"], tenant_id)
        await connection.execute(_QUERIES["forget_usage"], tenant_id)
        await connection.execute(_QUERIES["finish"], tenant_id)
