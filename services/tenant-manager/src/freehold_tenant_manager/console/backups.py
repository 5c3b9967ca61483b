"""The page of a tenant's backups, and of the databases that restores have left."""

from fastapi import APIRouter, Request, Response

from freehold.console.forms import read_form
from freehold.http.parameters import read_query
from freehold_tenant_manager.backups.routes import BackupId, require_backup
from freehold_tenant_manager.backups.store import list_backups
from freehold_tenant_manager.console.fields import Confirmed, NoFields
from freehold_tenant_manager.console.pages import leave
from freehold_tenant_manager.console.route import ConsoleRoute
from freehold_tenant_manager.console.tenant import TenantQuery, home, show_tenant
from freehold_tenant_manager.http.dependencies import TenantId, TheCatalog
from freehold_tenant_manager.operations.dependencies import TheOperations
from freehold_tenant_manager.operations.kinds import BACKUP, BACKUP_VERIFICATION
from freehold_tenant_manager.restore.retired_databases import list_retired
from freehold_tenant_manager.restore.routes import DatabaseName, TheRetired, no_database
from freehold_tenant_manager.tenants.store import find_living_tenant

router = APIRouter(route_class=ConsoleRoute)
_PATH = "/tenants/{tenant_id}"
_BACKUPS_MAX = 200


@router.get(f"{_PATH}/backups", name="backups")
async def backups_page(request: Request, catalog: TheCatalog, tenant_id: TenantId) -> Response:
    """List a tenant's backups, and their former databases."""
    query = read_query(TenantQuery, request)
    async with catalog.connection() as connection:
        backups = await list_backups(connection, tenant_id, after=None, rows_max=_BACKUPS_MAX)
        retired = await list_retired(connection, tenant_id)
    return await show_tenant(
        request,
        catalog,
        "backups.html",
        tenant_id,
        tab="backups",
        said=query.said,
        backups=backups,
        backups_max=_BACKUPS_MAX,
        retired=retired,
    )


@router.post(f"{_PATH}/backups", name="create_backup")
async def make_backup(
    request: Request, catalog: TheCatalog, operations: TheOperations, tenant_id: TenantId
) -> Response:
    """Have a backup made."""
    await read_form(request, NoFields)
    # One that is dated ahead would put off the next.
    catalog.agreed_now()
    async with catalog.connection() as connection:
        await find_living_tenant(connection, tenant_id)
    operation = await operations.submit(BACKUP, tenant_id)
    return leave(request, f"/console/operations/{operation.operation_id}")


@router.post(f"{_PATH}/backups/{{backup_id}}/verify", name="verify_backup")
async def verify_backup(
    request: Request,
    catalog: TheCatalog,
    operations: TheOperations,
    tenant_id: TenantId,
    backup_id: BackupId,
) -> Response:
    """Have a backup restored on trial."""
    await read_form(request, NoFields)
    async with catalog.connection() as connection:
        await require_backup(connection, tenant_id, backup_id)
    wanted = {"backup_id": str(backup_id)}
    operation = await operations.submit(BACKUP_VERIFICATION, tenant_id, wanted)
    return leave(request, f"/console/operations/{operation.operation_id}")


@router.post(f"{_PATH}/former-databases/{{name}}/drop", name="drop_former_database")
async def drop_database(
    request: Request, retired: TheRetired, tenant_id: TenantId, name: DatabaseName
) -> Response:
    """Drop a database that a restore has left; its name is typed."""
    (await read_form(request, Confirmed)).require(name)
    if not await retired.drop(tenant_id, name):
        raise no_database()
    return leave(request, home(tenant_id, "backups", said="dropped"))
