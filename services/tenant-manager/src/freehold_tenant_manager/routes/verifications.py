"""Verifications: proof on request that a tenant's ledger is whole."""

from fastapi import APIRouter, Response

from freehold.contracts.operations import Operation
from freehold_tenant_manager.routes.dependencies import (
    NO_QUERY,
    TenantId,
    TheManager,
    answer,
    require_active,
)

router = APIRouter()


@router.post(
    "/tenants/{tenant_id}/verify",
    tags=["tenants"],
    summary="Recompute a ledger's hash chain, and compare it with the state and the head outside.",
    status_code=202,
    responses={202: {"model": Operation, "description": "It is being verified."}},
    dependencies=NO_QUERY,
)
async def verify(manager: TheManager, tenant_id: TenantId) -> Response:
    """Have a tenant's ledger verified. What does not fit is in the result, as findings."""
    async with manager.parts.catalog.connection() as connection:
        await require_active(connection, tenant_id)
    return answer(await manager.parts.operations.submit("verify", tenant_id), 202)
