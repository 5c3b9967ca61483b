"""Tenants' lives: suspended, resumed, deleted."""

from fastapi import APIRouter, Request, Response
from pydantic import Field

from freehold.contracts.operations import Operation
from freehold.contracts.problems import TENANT_DELETED, Problem, unavailable
from freehold.contracts.tenants import Tenant
from freehold.service.bodies import field_errors
from freehold.service.parameters import NoQuery, documented_query, read_query
from freehold_tenant_manager.catalog.tenants import find_tenant, no_tenant, suspend_tenant
from freehold_tenant_manager.deleting import DELETE
from freehold_tenant_manager.routes.dependencies import NO_QUERY, TenantId, TheManager, answer

router = APIRouter()


class _Confirmation(NoQuery):
    confirm: str = Field(description="The tenant's id, once more.")


@router.post(
    "/tenants/{tenant_id}/suspend",
    tags=["tenants"],
    summary="Suspend a tenant: their keys are refused until they are resumed.",
    responses={200: {"model": Tenant}},
    dependencies=NO_QUERY,
)
async def post_suspend(manager: TheManager, tenant_id: TenantId) -> Response:
    """Suspend a tenant. Their ledger is still looked after, exported and backed up."""
    async with manager.parts.catalog.connection() as connection:
        tenant = await suspend_tenant(connection, tenant_id, suspended=True)
    return answer(tenant.shown())


@router.post(
    "/tenants/{tenant_id}/resume",
    tags=["tenants"],
    summary="Let a suspended tenant's keys work again.",
    responses={200: {"model": Tenant}},
    dependencies=NO_QUERY,
)
async def post_resume(manager: TheManager, tenant_id: TenantId) -> Response:
    """Resume a tenant."""
    async with manager.parts.catalog.connection() as connection:
        tenant = await suspend_tenant(connection, tenant_id, suspended=False)
    return answer(tenant.shown())


@router.delete(
    "/tenants/{tenant_id}",
    tags=["tenants"],
    summary="Delete a tenant, after a final export and a final backup.",
    status_code=202,
    responses={202: {"model": Operation}},
    openapi_extra={"parameters": documented_query(_Confirmation)},
)
async def delete_tenant(request: Request, manager: TheManager, tenant_id: TenantId) -> Response:
    """Delete a tenant. Asked for again, it goes on where something stood in the way."""
    if read_query(_Confirmation, request).confirm != tenant_id:
        raise field_errors([("/confirm", "repeat the id of the tenant who is to be deleted")])
    async with manager.parts.catalog.connection() as connection:
        tenant = await find_tenant(connection, tenant_id)
    if tenant is None:
        raise no_tenant()
    if tenant.status == "provisioning":
        raise unavailable("the tenant is still being made")
    if tenant.status == "deleted":
        raise Problem(TENANT_DELETED, f"the tenant {tenant_id} is deleted already")
    return answer(await manager.parts.operations.submit(DELETE, tenant_id), 202)
