"""Tenants: made, listed, shown, limited."""

from fastapi import APIRouter, Request, Response
from pydantic import Field

from freehold.contracts.tenants import (
    NewTenant,
    ProvisionedTenant,
    Tenant,
    TenantDetails,
    TenantLimits,
    TenantPage,
    TenantStatus,
)
from freehold.service.bodies import field_errors, json_body, parse
from freehold.service.parameters import PageQuery, documented_query
from freehold_tenant_manager.catalog.tenants import limit_tenant, list_tenants, no_tenant
from freehold_tenant_manager.pages import read_filtered_page
from freehold_tenant_manager.routes.dependencies import (
    NO_QUERY,
    SECRET,
    TENANT_ID,
    TenantId,
    TheManager,
    answer,
)

router = APIRouter()


class _Query(PageQuery):
    status: TenantStatus | None = Field(default=None, description="Only those in this status.")


@router.post(
    "/tenants",
    tags=["tenants"],
    summary="Make a tenant; the same request again changes nothing.",
    status_code=201,
    responses={
        200: {"model": ProvisionedTenant, "description": "The tenant existed already; no key."},
        201: {"model": ProvisionedTenant, "description": "Made, with their first API key."},
    },
    openapi_extra=dict(json_body(NewTenant)),
    dependencies=NO_QUERY,
)
async def create_tenant(request: Request, manager: TheManager) -> Response:
    """Make a tenant."""
    wanted = parse(NewTenant, await request.body())
    if wanted.region != manager.settings.region:
        raise field_errors(
            [("/region", f"there is no such region; known: {manager.settings.region}")]
        )
    created = await manager.parts.provisioner.create(wanted)
    if created.api_key is None:
        return answer(created)
    return answer(created, 201, SECRET)


@router.get(
    "/tenants",
    tags=["tenants"],
    summary="List tenants in order of their ids.",
    responses={200: {"model": TenantPage}},
    openapi_extra={"parameters": documented_query(_Query)},
)
async def get_tenants(request: Request, manager: TheManager) -> Response:
    """List tenants."""
    page = read_filtered_page(_Query, request, TENANT_ID, "tenants")
    async with manager.parts.catalog.connection() as connection:
        rows = await list_tenants(
            connection, after=page.after, rows_max=page.rows_max, status=page.query.status
        )
    shown, next_cursor = page.cut(rows, lambda row: row.tenant_id)
    return answer(TenantPage(data=[row.shown() for row in shown], next_cursor=next_cursor))


@router.get(
    "/tenants/{tenant_id}",
    tags=["tenants"],
    summary="Show a tenant: home, status, size, head, lag.",
    responses={200: {"model": TenantDetails}},
    dependencies=NO_QUERY,
)
async def get_tenant(manager: TheManager, tenant_id: TenantId) -> Response:
    """Show a tenant."""
    details = await manager.parts.overview.details(tenant_id)
    if details is None:
        raise no_tenant()
    return answer(details)


@router.put(
    "/tenants/{tenant_id}/limits",
    tags=["tenants"],
    summary="Set what each process of ingest takes of a tenant.",
    responses={200: {"model": Tenant}},
    openapi_extra=dict(json_body(TenantLimits)),
    dependencies=NO_QUERY,
)
async def put_limits(request: Request, manager: TheManager, tenant_id: TenantId) -> Response:
    """Set a tenant's limits. They hold at once, for requests that come in from now on."""
    wanted = parse(TenantLimits, await request.body())
    async with manager.parts.catalog.connection() as connection:
        tenant = await limit_tenant(connection, tenant_id, wanted)
    if tenant is None:
        raise no_tenant()
    return answer(tenant.shown())
