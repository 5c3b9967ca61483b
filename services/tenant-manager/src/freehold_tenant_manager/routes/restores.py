"""Restores, and the databases that they leave beside tenants' own."""

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from freehold.contracts.operations import Operation
from freehold.contracts.problems import NOT_FOUND, VALIDATION_FAILED, FieldError, Problem
from freehold.contracts.restores import FormerDatabasePage, NewRestore
from freehold.service.bodies import json_body, parse
from freehold_tenant_manager.catalog.deletion import find_restorable
from freehold_tenant_manager.catalog.former_databases import list_formers
from freehold_tenant_manager.catalog.tenants import find_tenant
from freehold_tenant_manager.pages import read_page
from freehold_tenant_manager.restore.restoring import KIND
from freehold_tenant_manager.routes.dependencies import (
    NO_QUERY,
    PAGE_PARAMETERS,
    TenantId,
    TheManager,
    answer,
    no_tenant,
)

router = APIRouter()
_NAME = re.compile(r"fh_[0-9a-f]{16}")


async def _database_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise _no_database()
    return name


DatabaseName = Annotated[str, Depends(_database_name)]


@router.post(
    "/tenants/{tenant_id}/restores",
    tags=["backups"],
    summary="Restore a tenant to an instant or a backup; nobody else notices.",
    status_code=202,
    responses={202: {"model": Operation}},
    openapi_extra=dict(json_body(NewRestore)),
    dependencies=NO_QUERY,
)
async def restore(request: Request, manager: TheManager, tenant_id: TenantId) -> Response:
    """Begin a restore."""
    wanted = parse(NewRestore, await request.body())
    async with manager.parts.catalog.connection() as connection:
        tenant = await find_restorable(connection, tenant_id)
    if wanted.to is not None:
        _require_lived_through(wanted.to, tenant.created_at)
    operation = await manager.parts.operations.submit(
        KIND,
        tenant_id,
        {
            "to": None if wanted.to is None else wanted.to.astimezone(UTC).isoformat(),
            "backup_id": None if wanted.backup_id is None else str(wanted.backup_id),
            "preview": wanted.preview,
        },
    )
    return answer(operation, 202)


@router.get(
    "/tenants/{tenant_id}/former-databases",
    tags=["backups"],
    summary="List the databases that restores have left beside a tenant's own.",
    responses={200: {"model": FormerDatabasePage}},
    openapi_extra=PAGE_PARAMETERS,
)
async def get_former_databases(
    request: Request, manager: TheManager, tenant_id: TenantId
) -> Response:
    """List databases beside a tenant's own."""
    page = read_page(request, _NAME, "former-databases", tenant_id)
    async with manager.parts.catalog.connection() as connection:
        if await find_tenant(connection, tenant_id) is None:
            raise no_tenant()
        rows = await list_formers(connection, tenant_id, after=page.after, rows_max=page.rows_max)
    shown, next_cursor = page.cut(rows, lambda row: row.database_name)
    return answer(FormerDatabasePage(data=[row.shown() for row in shown], next_cursor=next_cursor))


@router.delete(
    "/tenants/{tenant_id}/former-databases/{name}",
    tags=["backups"],
    summary="Drop a database beside a tenant's own.",
    status_code=204,
    dependencies=NO_QUERY,
)
async def drop_former_database(
    manager: TheManager, tenant_id: TenantId, name: DatabaseName
) -> Response:
    """Drop a database beside a tenant's own."""
    if not await manager.parts.restoration.former.drop(tenant_id, name):
        raise _no_database()
    return Response(status_code=204)


def _require_lived_through(instant: datetime, created_at: datetime) -> None:
    if instant > datetime.now(UTC):
        fault = "this is in the future"
    elif instant < created_at:
        fault = "the tenant had no ledger then"
    else:
        return
    raise Problem(
        VALIDATION_FAILED,
        f"to: {fault}",
        errors=[FieldError(pointer="/to", detail=fault).model_dump()],
    )


def _no_database() -> Problem:
    return Problem(NOT_FOUND, "there is no such database")
