"""A tenant's lifecycle: suspend, resume, delete."""

from fastapi import APIRouter, Request, Response

from freehold.http.parameters import documented_query
from freehold_tenant_manager.contracts.operations import Operation
from freehold_tenant_manager.contracts.tenants import Tenant
from freehold_tenant_manager.deletion.asking import ask_for_deletion
from freehold_tenant_manager.http.dependencies import (
    EMPTY_BODY,
    NO_QUERY_NOR_BODY,
    Confirmation,
    TenantId,
    TheCatalog,
    answer,
    require_confirmation,
)
from freehold_tenant_manager.operations.dependencies import TheOperations
from freehold_tenant_manager.operators.route import OperatorRoute
from freehold_tenant_manager.tenants.store import suspend_tenant

router = APIRouter(route_class=OperatorRoute)


@router.post(
    "/tenants/{tenant_id}/suspend",
    operation_id="suspend_tenant",
    tags=["tenants"],
    summary="Suspend a tenant: their keys are refused until they are resumed.",
    responses={200: {"model": Tenant}},
    openapi_extra=dict(EMPTY_BODY),
    dependencies=NO_QUERY_NOR_BODY,
)
async def post_suspend(catalog: TheCatalog, tenant_id: TenantId) -> Response:
    """Suspend a tenant. Their ledger is still archived, exported and backed up."""
    async with catalog.connection() as connection:
        tenant = await suspend_tenant(connection, tenant_id, suspended=True)
    return answer(tenant.shown())


@router.post(
    "/tenants/{tenant_id}/resume",
    operation_id="resume_tenant",
    tags=["tenants"],
    summary="Let a suspended tenant's keys work again.",
    responses={200: {"model": Tenant}},
    openapi_extra=dict(EMPTY_BODY),
    dependencies=NO_QUERY_NOR_BODY,
)
async def post_resume(catalog: TheCatalog, tenant_id: TenantId) -> Response:
    """Resume a tenant."""
    async with catalog.connection() as connection:
        tenant = await suspend_tenant(connection, tenant_id, suspended=False)
    return answer(tenant.shown())


@router.delete(
    "/tenants/{tenant_id}",
    operation_id="delete_tenant",
    tags=["tenants"],
    summary="Delete a tenant, after a final export and a final backup.",
    status_code=202,
    responses={202: {"model": Operation}},
    openapi_extra={"parameters": documented_query(Confirmation)},
)
async def delete_tenant(
    request: Request, catalog: TheCatalog, operations: TheOperations, tenant_id: TenantId
) -> Response:
    """Delete a tenant, or continue a deletion that failed."""
    require_confirmation(request, tenant_id)
    return answer(await ask_for_deletion(catalog, operations, tenant_id), 202)
