"""The route that shows a tenant."""

from typing import Annotated

from fastapi import APIRouter, Response

from freehold_tenant_manager.contracts.tenants import TenantDetails
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.http.dependencies import NO_QUERY, TenantId, answer
from freehold_tenant_manager.overview.overview import Overview

router = APIRouter()
_TheOverview = Annotated[Overview, component(Overview)]


@router.get(
    "/tenants/{tenant_id}",
    operation_id="get_tenant",
    tags=["tenants"],
    summary="Show a tenant: home, status, size, head, lag.",
    responses={200: {"model": TenantDetails}},
    dependencies=NO_QUERY,
)
async def get_tenant(overview: _TheOverview, tenant_id: TenantId) -> Response:
    """Show a tenant."""
    return answer(await overview.details(tenant_id))
