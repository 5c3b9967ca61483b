"""The route that verifies a tenant's ledger."""

from fastapi import APIRouter, Response

from freehold_tenant_manager.contracts.operations import Operation
from freehold_tenant_manager.http.dependencies import (
    EMPTY_BODY,
    NO_QUERY_NOR_BODY,
    TenantId,
    TheCatalog,
    answer,
)
from freehold_tenant_manager.operations.dependencies import TheOperations
from freehold_tenant_manager.operations.kinds import VERIFICATION
from freehold_tenant_manager.operators.route import OperatorRoute
from freehold_tenant_manager.tenants.store import find_living_tenant

router = APIRouter(route_class=OperatorRoute)


@router.post(
    "/tenants/{tenant_id}/verify",
    operation_id="verify_ledger",
    tags=["tenants"],
    summary="Recompute a ledger's hash chain, and compare it with the state and the head outside.",
    status_code=202,
    responses={202: {"model": Operation, "description": "It is being verified."}},
    openapi_extra=dict(EMPTY_BODY),
    dependencies=NO_QUERY_NOR_BODY,
)
async def verify(catalog: TheCatalog, operations: TheOperations, tenant_id: TenantId) -> Response:
    """Request a verification. The operation's result lists its findings."""
    async with catalog.connection() as connection:
        await find_living_tenant(connection, tenant_id)
    return answer(await operations.submit(VERIFICATION, tenant_id), 202)
