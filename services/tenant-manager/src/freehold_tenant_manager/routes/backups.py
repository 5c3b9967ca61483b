"""Backups: made, listed, verified."""

import re
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from freehold.contracts.backups import Backup, BackupPage
from freehold.contracts.operations import Operation
from freehold.contracts.problems import NOT_FOUND, Problem
from freehold.ledger.client import Connection
from freehold.service.parameters import path_id
from freehold_tenant_manager.catalog.backups import BackupRow, find_backup, list_backups
from freehold_tenant_manager.catalog.tenants import find_living_tenant, find_tenant
from freehold_tenant_manager.pages import read_page
from freehold_tenant_manager.routes.dependencies import (
    NO_QUERY,
    PAGE_PARAMETERS,
    TenantId,
    TheManager,
    answer,
    no_tenant,
)

router = APIRouter(tags=["backups"])
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def _backup_id(backup_id: str) -> UUID:
    return path_id(backup_id, "backup")


BackupId = Annotated[UUID, Depends(_backup_id)]


@router.post(
    "/tenants/{tenant_id}/backups",
    summary="Make a backup; its id is the operation's.",
    status_code=202,
    responses={202: {"model": Operation}},
    dependencies=NO_QUERY,
)
async def create_backup(manager: TheManager, tenant_id: TenantId) -> Response:
    """Have a backup made."""
    async with manager.parts.catalog.connection() as connection:
        await find_living_tenant(connection, tenant_id)
    return answer(await manager.parts.operations.submit("backup", tenant_id), 202)


@router.get(
    "/tenants/{tenant_id}/backups",
    summary="List a tenant's backups, the newest first.",
    responses={200: {"model": BackupPage}},
    openapi_extra=PAGE_PARAMETERS,
)
async def get_backups(request: Request, manager: TheManager, tenant_id: TenantId) -> Response:
    """List a tenant's backups."""
    page = read_page(request, _UUID, "backups", tenant_id)
    async with manager.parts.catalog.connection() as connection:
        if await find_tenant(connection, tenant_id) is None:
            raise no_tenant()
        rows = await list_backups(
            connection,
            tenant_id,
            after=None if page.after is None else UUID(page.after),
            rows_max=page.rows_max,
        )
    shown, next_cursor = page.cut(rows, lambda row: str(row.backup_id))
    return answer(BackupPage(data=[row.shown() for row in shown], next_cursor=next_cursor))


@router.get(
    "/tenants/{tenant_id}/backups/{backup_id}",
    summary="Show a backup.",
    responses={200: {"model": Backup}},
    dependencies=NO_QUERY,
)
async def get_backup(manager: TheManager, tenant_id: TenantId, backup_id: BackupId) -> Response:
    """Show a backup."""
    async with manager.parts.catalog.connection() as connection:
        return answer((await _require_backup(connection, tenant_id, backup_id)).shown())


@router.post(
    "/tenants/{tenant_id}/backups/{backup_id}/verify",
    summary="Restore a backup on trial, and compare it with what it should be.",
    status_code=202,
    responses={202: {"model": Operation}},
    dependencies=NO_QUERY,
)
async def verify_backup(manager: TheManager, tenant_id: TenantId, backup_id: BackupId) -> Response:
    """Have a backup verified."""
    async with manager.parts.catalog.connection() as connection:
        await _require_backup(connection, tenant_id, backup_id)
    operation = await manager.parts.operations.submit(
        "backup-verification", tenant_id, {"backup_id": str(backup_id)}
    )
    return answer(operation, 202)


async def _require_backup(connection: Connection, tenant_id: str, backup_id: UUID) -> BackupRow:
    backup = await find_backup(connection, tenant_id, backup_id)
    if backup is None:
        raise Problem(NOT_FOUND, "the tenant has no such backup")
    return backup
