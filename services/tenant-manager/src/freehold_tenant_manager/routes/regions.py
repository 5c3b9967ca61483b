"""Regions that tenants can live in."""

import re

from fastapi import APIRouter, Request, Response

from freehold.contracts.tenants import Region, RegionList
from freehold_tenant_manager.catalog.tenants import list_regions
from freehold_tenant_manager.pages import read_page
from freehold_tenant_manager.routes.dependencies import PAGE_PARAMETERS, TheManager, answer
from freehold_tenant_manager.settings import NAME_PATTERN

router = APIRouter()
_REGION = re.compile(NAME_PATTERN)


@router.get(
    "/regions",
    tags=["regions"],
    summary="List the regions that tenants can live in.",
    responses={200: {"model": RegionList}},
    openapi_extra=PAGE_PARAMETERS,
)
async def get_regions(request: Request, manager: TheManager) -> Response:
    """List the regions."""
    page = read_page(request, _REGION, "regions")
    async with manager.parts.catalog.connection() as connection:
        rows = await list_regions(connection, after=page.after, rows_max=page.rows_max)
    shown, next_cursor = page.cut(rows, lambda row: str(row["region"]))
    return answer(RegionList(data=[Region(**row) for row in shown], next_cursor=next_cursor))
