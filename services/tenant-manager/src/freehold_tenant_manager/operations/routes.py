"""The routes that show operations."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response
from pydantic import Field

from freehold.contracts.errors import NotFound
from freehold.http.parameters import PageQuery, documented_query, path_id
from freehold_tenant_manager.contracts.names import TenantId
from freehold_tenant_manager.contracts.operations import Operation, OperationPage, OperationStatus
from freehold_tenant_manager.http.dependencies import NO_QUERY, TheCatalog, answer
from freehold_tenant_manager.http.pages import UUID_NAME, read_filtered_page
from freehold_tenant_manager.operations.store import find_operation, list_operations
from freehold_tenant_manager.operators.route import OperatorRoute


async def _operation_id(operation_id: str) -> UUID:
    return path_id(operation_id, "operation")


OperationId = Annotated[UUID, Depends(_operation_id)]
router = APIRouter(route_class=OperatorRoute)


class _Query(PageQuery):
    tenant_id: TenantId | None = Field(default=None, description="Only this tenant's.")
    status: OperationStatus | None = Field(default=None, description="Only those in this status.")


@router.get(
    "/operations",
    operation_id="list_operations",
    tags=["operations"],
    summary="List operations, the newest first.",
    responses={200: {"model": OperationPage}},
    openapi_extra={"parameters": documented_query(_Query)},
)
async def get_operations(request: Request, catalog: TheCatalog) -> Response:
    """List operations."""
    page = read_filtered_page(_Query, request, UUID_NAME, "operations")
    async with catalog.connection() as connection:
        rows = await list_operations(
            connection,
            tenant_id=page.query.tenant_id,
            status=page.query.status,
            after=page.after_id,
            rows_max=page.rows_max,
        )
    shown, next_cursor = page.cut(rows, lambda row: str(row.operation_id))
    return answer(OperationPage(data=[row.shown() for row in shown], next_cursor=next_cursor))


@router.get(
    "/operations/{operation_id}",
    operation_id="get_operation",
    tags=["operations"],
    summary="Show how far an operation is.",
    responses={200: {"model": Operation}},
    dependencies=NO_QUERY,
)
async def get_operation(catalog: TheCatalog, operation_id: OperationId) -> Response:
    """Show an operation."""
    async with catalog.connection() as connection:
        row = await find_operation(connection, operation_id)
    if row is None:
        raise NotFound("there is no such operation")
    return answer(row.shown())
