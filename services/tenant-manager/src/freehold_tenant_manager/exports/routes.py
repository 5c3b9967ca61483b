"""Exports: for the operator any tenant's, for a tenant their own."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from freehold.contracts.errors import MissingScope, TenantDeleted, TooManyRequests
from freehold.http.authentication import sole_authorization
from freehold.http.openapi import WITH_API_KEY, answering
from freehold.http.parameters import NoQuery, documented_query, read_query
from freehold.http.response_headers import documented_headers
from freehold.security.api_keys import Scope
from freehold_tenant_manager.exports.exports import Exports
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.http.dependencies import TenantId, TheCatalog
from freehold_tenant_manager.keys.authentication import authenticate_tenant
from freehold_tenant_manager.operators.route import OperatorRoute

EXPORT_PATHS = frozenset({"/v1/export", "/v1/tenants/{tenant_id}/export"})

router = APIRouter(route_class=OperatorRoute, tags=["exports"])
own_router = APIRouter(tags=["exports"])
TheExports = Annotated[Exports, component(Exports)]


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
        **documented_headers("Content-Disposition"),
        "content": {"application/sql": _FILE, "application/octet-stream": _FILE},
    }
}
_PARAMETERS = {"parameters": documented_query(ExportQuery), **answering(TooManyRequests)}
_OWN_PARAMETERS = {
    **WITH_API_KEY,
    "parameters": documented_query(ExportQuery),
    **answering(TooManyRequests, MissingScope, TenantDeleted),
}


@router.get(
    "/tenants/{tenant_id}/export",
    operation_id="export_ledger",
    response_class=Response,
    summary="Download a tenant's whole ledger as one file.",
    responses=_RESPONSES,
    openapi_extra=_PARAMETERS,
)
async def get_export(request: Request, exports: TheExports, tenant_id: TenantId) -> Response:
    """Export a tenant's ledger."""
    query = read_query(ExportQuery, request)
    return exports.download(tenant_id, query.format)


@own_router.get(
    "/export",
    operation_id="export_own_ledger",
    response_class=Response,
    summary="Download one's own ledger as one file, with a key of the scope export.",
    responses=_RESPONSES,
    openapi_extra=_OWN_PARAMETERS,
)
async def get_own_export(request: Request, catalog: TheCatalog, exports: TheExports) -> Response:
    """Export the ledger of the tenant who asks."""
    tenant_id = await authenticate_tenant(catalog, sole_authorization(request), Scope.EXPORT)
    query = read_query(ExportQuery, request)
    return exports.download(tenant_id, query.format)
