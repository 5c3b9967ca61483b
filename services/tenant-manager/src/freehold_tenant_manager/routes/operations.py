"""Operations: how far what was asked for is."""

import re
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field

from freehold.contracts.operations import Operation, OperationPage, OperationStatus
from freehold.contracts.problems import NOT_FOUND, Problem
from freehold.contracts.tenants import TENANT_ID_PATTERN
from freehold.service.parameters import PageQuery, documented_query
from freehold_tenant_manager.catalog.operations import find_operation, list_operations
from freehold_tenant_manager.pages import read_filtered_page
from freehold_tenant_manager.routes.dependencies import NO_QUERY, OperationId, TheManager, answer

router = APIRouter()
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class _Query(PageQuery):
    tenant_id: Annotated[str, Field(pattern=TENANT_ID_PATTERN)] | None = Field(
        default=None, description="Only this tenant's."
    )
    status: OperationStatus | None = Field(default=None, description="Only those in this status.")


@router.get(
    "/operations",
    tags=["operations"],
    summary="List operations, the newest first.",
    responses={200: {"model": OperationPage}},
    openapi_extra={"parameters": documented_query(_Query)},
)
async def get_operations(request: Request, manager: TheManager) -> Response:
    """List operations."""
    page = read_filtered_page(_Query, request, _UUID, "operations")
    async with manager.parts.catalog.connection() as connection:
        rows = await list_operations(
            connection,
            tenant_id=page.query.tenant_id,
            status=page.query.status,
            after=None if page.after is None else UUID(page.after),
            rows_max=page.rows_max,
        )
    shown, next_cursor = page.cut(rows, lambda row: str(row.operation_id))
    return answer(OperationPage(data=[row.shown() for row in shown], next_cursor=next_cursor))


@router.get(
    "/operations/{operation_id}",
    tags=["operations"],
    summary="Show how far an operation is.",
    responses={200: {"model": Operation}},
    dependencies=NO_QUERY,
)
async def get_operation(manager: TheManager, operation_id: OperationId) -> Response:
    """Show an operation."""
    async with manager.parts.catalog.connection() as connection:
        row = await find_operation(connection, operation_id)
    if row is None:
        raise Problem(NOT_FOUND, "there is no such operation")
    return answer(row.shown())
