"""Exports: for the operator any tenant's, for a tenant their own."""

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from freehold.security.api_keys import Scope
from freehold.service.authentication import sole_authorization
from freehold.service.parameters import NoQuery, documented_query, read_query
from freehold_tenant_manager.callers import authenticate_tenant
from freehold_tenant_manager.manager import Manager
from freehold_tenant_manager.routes.dependencies import TenantId, TheManager

EXPORT_PATHS = frozenset({"/v1/export", "/v1/tenants/{tenant_id}/export"})

router = APIRouter(tags=["exports"])
own_router = APIRouter(tags=["exports"])


class ExportQuery(NoQuery):
    """How an export is wanted."""

    format: Literal["sql", "custom"] = Field(
        default="sql", description="Plain SQL for psql, or a file for pg_restore."
    )


_FILE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The ledger as it is now, without owners and grants. One that is not whole"
        " ends with a broken connection.",
        "content": {"application/sql": _FILE, "application/octet-stream": _FILE},
    }
}
_PARAMETERS = {"parameters": documented_query(ExportQuery)}


@router.get(
    "/tenants/{tenant_id}/export",
    response_class=Response,
    summary="Download a tenant's whole ledger as one file.",
    responses=_RESPONSES,
    openapi_extra=_PARAMETERS,
)
async def get_export(request: Request, manager: TheManager, tenant_id: TenantId) -> Response:
    """Export a tenant's ledger."""
    query = read_query(ExportQuery, request)
    return manager.parts.exports.download(tenant_id, query.format)


@own_router.get(
    "/export",
    response_class=Response,
    summary="Download one's own ledger as one file, with a key of the scope export.",
    responses=_RESPONSES,
    openapi_extra=_PARAMETERS,
)
async def get_own_export(request: Request) -> Response:
    """Export the ledger of the tenant who asks."""
    manager: Manager = request.app.state.manager
    tenant_id = await authenticate_tenant(
        manager.parts.catalog, sole_authorization(request), Scope.EXPORT
    )
    query = read_query(ExportQuery, request)
    return manager.parts.exports.download(tenant_id, query.format)
