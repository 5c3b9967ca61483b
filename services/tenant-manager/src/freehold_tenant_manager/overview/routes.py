"""The routes that show the installation at a glance, and one tenant."""

from typing import Annotated

from fastapi import APIRouter, Response

from freehold_tenant_manager.contracts.overview import InstallationOverview
from freehold_tenant_manager.contracts.tenants import TenantDetails
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.http.dependencies import NO_QUERY, TenantId, answer
from freehold_tenant_manager.operators.route import OperatorRoute
from freehold_tenant_manager.overview.overview import Overview
from freehold_tenant_manager.overview.survey import Survey

router = APIRouter(route_class=OperatorRoute)
_TheOverview = Annotated[Overview, component(Overview)]
_TheSurvey = Annotated[Survey, component(Survey)]


@router.get(
    "/overview",
    operation_id="get_overview",
    tags=["overview"],
    summary="The installation at a glance: tenants, lag, backups, findings, parked doorbells.",
    responses={200: {"model": InstallationOverview}},
    dependencies=NO_QUERY,
)
async def get_overview(survey: _TheSurvey) -> Response:
    """Show the installation."""
    return answer(await survey.overview())


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
