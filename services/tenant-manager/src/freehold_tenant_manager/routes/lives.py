"""Tenants' lives: suspended, resumed, deleted."""

from fastapi import APIRouter, Response

from freehold.contracts.tenants import Tenant
from freehold_tenant_manager.catalog.tenants import suspend_tenant
from freehold_tenant_manager.routes.dependencies import NO_QUERY, TenantId, TheManager, answer

router = APIRouter()


@router.post(
    "/tenants/{tenant_id}/suspend",
    tags=["tenants"],
    summary="Suspend a tenant: their keys are refused until they are resumed.",
    responses={200: {"model": Tenant}},
    dependencies=NO_QUERY,
)
async def post_suspend(manager: TheManager, tenant_id: TenantId) -> Response:
    """Suspend a tenant. Their ledger is still looked after, exported and backed up."""
    async with manager.catalog.connection() as connection:
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
    async with manager.catalog.connection() as connection:
        tenant = await suspend_tenant(connection, tenant_id, suspended=False)
    return answer(tenant.shown())
