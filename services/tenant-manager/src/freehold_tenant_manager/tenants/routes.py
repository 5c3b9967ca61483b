"""Tenants: their list, their limits, and their regions."""

import re

from fastapi import APIRouter, Request, Response
from pydantic import Field

from freehold.http.bodies import json_body, parse, read_body
from freehold.http.parameters import PageQuery, documented_query
from freehold_tenant_manager.contracts.names import NAME_PATTERN
from freehold_tenant_manager.contracts.tenants import (
    Region,
    RegionList,
    Tenant,
    TenantLimits,
    TenantPage,
    TenantStatus,
)
from freehold_tenant_manager.http.dependencies import (
    NO_QUERY,
    PAGE_PARAMETERS,
    TENANT_ID,
    TenantId,
    TheCatalog,
    answer,
)
from freehold_tenant_manager.http.pages import read_filtered_page, read_page
from freehold_tenant_manager.operators.route import OperatorRoute
from freehold_tenant_manager.tenants.store import limit_tenant, list_regions, list_tenants

router = APIRouter(route_class=OperatorRoute)
_REGION = re.compile(NAME_PATTERN)


class _Query(PageQuery):
    status: TenantStatus | None = Field(default=None, description="Only those in this status.")


@router.get(
    "/tenants",
    operation_id="list_tenants",
    tags=["tenants"],
    summary="List tenants in order of their ids.",
    responses={200: {"model": TenantPage}},
    openapi_extra={"parameters": documented_query(_Query)},
)
async def get_tenants(request: Request, catalog: TheCatalog) -> Response:
    """List tenants."""
    page = read_filtered_page(_Query, request, TENANT_ID, "tenants")
    async with catalog.connection() as connection:
        rows = await list_tenants(
            connection, after=page.after, rows_max=page.rows_max, status=page.query.status
        )
    shown, next_cursor = page.cut(rows, lambda row: row.tenant_id)
    return answer(TenantPage(data=[row.shown() for row in shown], next_cursor=next_cursor))


@router.put(
    "/tenants/{tenant_id}/limits",
    operation_id="set_tenant_limits",
    tags=["tenants"],
    summary="Set what each process of ingest takes of a tenant.",
    responses={200: {"model": Tenant}},
    openapi_extra=dict(json_body(TenantLimits)),
    dependencies=NO_QUERY,
)
async def put_limits(request: Request, catalog: TheCatalog, tenant_id: TenantId) -> Response:
    """Set a tenant's limits. They apply to every request from now on."""
    wanted = parse(TenantLimits, await read_body(request))
    async with catalog.connection() as connection:
        tenant = await limit_tenant(connection, tenant_id, wanted)
    return answer(tenant.shown())


@router.get(
    "/regions",
    operation_id="list_regions",
    tags=["regions"],
    summary="List the regions that tenants can live in.",
    responses={200: {"model": RegionList}},
    openapi_extra=PAGE_PARAMETERS,
)
async def get_regions(request: Request, catalog: TheCatalog) -> Response:
    """List the regions."""
    page = read_page(request, _REGION, "regions")
    async with catalog.connection() as connection:
        rows = await list_regions(connection, after=page.after, rows_max=page.rows_max)
    shown, next_cursor = page.cut(rows, lambda row: str(row["region"]))
    return answer(RegionList(data=[Region(**row) for row in shown], next_cursor=next_cursor))
