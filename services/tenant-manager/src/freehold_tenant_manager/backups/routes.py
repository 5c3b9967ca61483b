"""Backups: made, listed, verified."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from freehold.contracts.errors import ClocksDisagree, NotFound
from freehold.http.openapi import answering
from freehold.http.parameters import path_id
from freehold.ledger.client import Connection
from freehold_tenant_manager.backups.store import BackupRow, find_backup, list_backups
from freehold_tenant_manager.contracts.backups import Backup, BackupPage
from freehold_tenant_manager.contracts.operations import Operation
from freehold_tenant_manager.http.dependencies import (
    EMPTY_BODY,
    NO_QUERY,
    NO_QUERY_NOR_BODY,
    PAGE_PARAMETERS,
    TenantId,
    TheCatalog,
    answer,
)
from freehold_tenant_manager.http.pages import UUID_NAME, read_page
from freehold_tenant_manager.operations.dependencies import TheOperations
from freehold_tenant_manager.operations.kinds import BACKUP, BACKUP_VERIFICATION
from freehold_tenant_manager.operators.route import OperatorRoute
from freehold_tenant_manager.tenants.store import find_living_tenant, require_tenant

router = APIRouter(route_class=OperatorRoute, tags=["backups"])


async def _backup_id(backup_id: str) -> UUID:
    return path_id(backup_id, "backup")


BackupId = Annotated[UUID, Depends(_backup_id)]


@router.post(
    "/tenants/{tenant_id}/backups",
    operation_id="create_backup",
    summary="Make a backup; its id is the operation's.",
    status_code=202,
    responses={202: {"model": Operation}},
    openapi_extra={**EMPTY_BODY, **answering(ClocksDisagree)},
    dependencies=NO_QUERY_NOR_BODY,
)
async def create_backup(
    catalog: TheCatalog, operations: TheOperations, tenant_id: TenantId
) -> Response:
    """Have a backup made."""
    # One that is dated ahead would put off the next.
    catalog.agreed_now()
    async with catalog.connection() as connection:
        await find_living_tenant(connection, tenant_id)
    return answer(await operations.submit(BACKUP, tenant_id), 202)


@router.get(
    "/tenants/{tenant_id}/backups",
    operation_id="list_backups",
    summary="List a tenant's backups, the newest first.",
    responses={200: {"model": BackupPage}},
    openapi_extra=PAGE_PARAMETERS,
)
async def get_backups(request: Request, catalog: TheCatalog, tenant_id: TenantId) -> Response:
    """List a tenant's backups."""
    page = read_page(request, UUID_NAME, "backups", tenant_id)
    async with catalog.connection() as connection:
        await require_tenant(connection, tenant_id)
        rows = await list_backups(
            connection, tenant_id, after=page.after_id, rows_max=page.rows_max
        )
    shown, next_cursor = page.cut(rows, lambda row: str(row.backup_id))
    return answer(BackupPage(data=[row.shown() for row in shown], next_cursor=next_cursor))


@router.get(
    "/tenants/{tenant_id}/backups/{backup_id}",
    operation_id="get_backup",
    summary="Show a backup.",
    responses={200: {"model": Backup}},
    dependencies=NO_QUERY,
)
async def get_backup(catalog: TheCatalog, tenant_id: TenantId, backup_id: BackupId) -> Response:
    """Show a backup."""
    async with catalog.connection() as connection:
        return answer((await require_backup(connection, tenant_id, backup_id)).shown())


@router.post(
    "/tenants/{tenant_id}/backups/{backup_id}/verify",
    operation_id="verify_backup",
    summary="Restore a backup on trial, and compare it with what it should be.",
    status_code=202,
    responses={202: {"model": Operation}},
    openapi_extra=dict(EMPTY_BODY),
    dependencies=NO_QUERY_NOR_BODY,
)
async def verify_backup(
    catalog: TheCatalog, operations: TheOperations, tenant_id: TenantId, backup_id: BackupId
) -> Response:
    """Have a backup verified."""
    async with catalog.connection() as connection:
        await require_backup(connection, tenant_id, backup_id)
    wanted = {"backup_id": str(backup_id)}
    return answer(await operations.submit(BACKUP_VERIFICATION, tenant_id, wanted), 202)


async def require_backup(connection: Connection, tenant_id: str, backup_id: UUID) -> BackupRow:
    """Give a tenant's backup.

    Raises:
        NotFound: They have no such backup.
    """
    backup = await find_backup(connection, tenant_id, backup_id)
    if backup is None:
        raise NotFound("the tenant has no such backup")
    return backup
