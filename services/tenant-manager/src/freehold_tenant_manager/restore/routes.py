"""Restores, and the retired databases that they leave."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from freehold.contracts.errors import ClocksDisagree, DomainError, NotFound
from freehold.http.bodies import json_body, parse, read_body
from freehold.http.openapi import answering
from freehold.http.parameters import documented_query
from freehold_tenant_manager.contracts.operations import Operation
from freehold_tenant_manager.contracts.restores import FormerDatabasePage, NewRestore
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.http.dependencies import (
    NO_QUERY,
    PAGE_PARAMETERS,
    Confirmation,
    TenantId,
    TheCatalog,
    answer,
    require_confirmation,
)
from freehold_tenant_manager.http.pages import read_page
from freehold_tenant_manager.operations.dependencies import TheOperations
from freehold_tenant_manager.operators.route import OperatorRoute
from freehold_tenant_manager.restore.asking import ask_for_restore
from freehold_tenant_manager.restore.retired_databases import RetiredDatabases, list_retired
from freehold_tenant_manager.tenants.store import require_tenant

TheRetired = Annotated[RetiredDatabases, component(RetiredDatabases)]
router = APIRouter(route_class=OperatorRoute)
_NAME = re.compile(r"fh_[0-9a-f]{16}")


async def _database_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise no_database()
    return name


DatabaseName = Annotated[str, Depends(_database_name)]


@router.post(
    "/tenants/{tenant_id}/restores",
    operation_id="restore_tenant",
    tags=["backups"],
    summary="Restore a tenant to an instant, an event or a backup, without effect on others.",
    status_code=202,
    responses={202: {"model": Operation}},
    openapi_extra={**json_body(NewRestore), **answering(ClocksDisagree)},
    dependencies=NO_QUERY,
)
async def restore(
    request: Request, catalog: TheCatalog, operations: TheOperations, tenant_id: TenantId
) -> Response:
    """Begin a restore."""
    wanted = parse(NewRestore, await read_body(request))
    return answer(await ask_for_restore(catalog, operations, tenant_id, wanted), 202)


@router.get(
    "/tenants/{tenant_id}/former-databases",
    operation_id="list_former_databases",
    tags=["backups"],
    summary="List the retired databases and previews that restores of a tenant have left.",
    responses={200: {"model": FormerDatabasePage}},
    openapi_extra=PAGE_PARAMETERS,
)
async def get_former_databases(
    request: Request, catalog: TheCatalog, tenant_id: TenantId
) -> Response:
    """List a tenant's retired databases."""
    page = read_page(request, _NAME, "former-databases", tenant_id)
    async with catalog.connection() as connection:
        await require_tenant(connection, tenant_id)
        rows = await list_retired(connection, tenant_id, after=page.after, rows_max=page.rows_max)
    shown, next_cursor = page.cut(rows, lambda row: row.database_name)
    return answer(FormerDatabasePage(data=[row.shown() for row in shown], next_cursor=next_cursor))


@router.delete(
    "/tenants/{tenant_id}/former-databases/{name}",
    operation_id="drop_former_database",
    tags=["backups"],
    summary="Drop a retired database or a preview of a tenant.",
    status_code=204,
    openapi_extra={"parameters": documented_query(Confirmation)},
)
async def drop_former_database(
    request: Request, retired: TheRetired, tenant_id: TenantId, name: DatabaseName
) -> Response:
    """Drop a retired database."""
    require_confirmation(request, name)
    if not await retired.drop(tenant_id, name):
        raise no_database()
    return Response(status_code=204)


def no_database() -> DomainError:
    """Make the error for a name that none of the tenant's databases has."""
    return NotFound("there is no such database")
