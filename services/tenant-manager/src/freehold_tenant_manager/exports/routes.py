"""Exports: for the operator any tenant's, for a tenant their own."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from freehold.console.forms import Form, read_form
from freehold.contracts.errors import MissingScope, TenantDeleted, TooManyRequests
from freehold.http.authentication import sole_authorization
from freehold.http.codings import too_large
from freehold.http.openapi import WITH_API_KEY, answering
from freehold.http.parameters import NoQuery, documented_query, read_query
from freehold.http.problems import late_body
from freehold.http.response_headers import documented_headers
from freehold.security.api_keys import Scope
from freehold.security.export_tickets import TEXT_MAX, ExportTickets
from freehold.security.key_ring import KeyRing
from freehold_tenant_manager.exports.exports import Exports
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.http.dependencies import TenantId, TheCatalog
from freehold_tenant_manager.keys.authentication import authenticate_tenant, authenticate_ticket
from freehold_tenant_manager.operators.route import OperatorRoute

EXPORT_PATHS = frozenset({"/v1/export", "/v1/tenants/{tenant_id}/export", "/v1/export/by-ticket"})

router = APIRouter(route_class=OperatorRoute, tags=["exports"])
own_router = APIRouter(tags=["exports"])
TheExports = Annotated[Exports, component(Exports)]


_FORM_BYTES_MAX = 2 * TEXT_MAX
_FORM_S = 10.0


class TicketForm(Form):
    """What the form of query's console sends."""

    ticket: str = Field(max_length=TEXT_MAX)


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


@own_router.post("/export/by-ticket", include_in_schema=False)
async def post_own_export(
    request: Request,
    catalog: TheCatalog,
    exports: TheExports,
    key_ring: Annotated[KeyRing, component(KeyRing)],
) -> Response:
    """Export the ledger of a tenant who asks from query's console, with a ticket of it."""
    read_query(NoQuery, request)
    text = (await _read_ticket(request)).ticket
    ticket = ExportTickets(key_ring).read(text)
    return exports.download(await authenticate_ticket(catalog, ticket, Scope.EXPORT), "sql")


async def _read_ticket(request: Request) -> TicketForm:
    """Read the form. The limits of requests leave this path out, since its answers are long.

    Raises:
        BodyTooLarge: It is, or does not say how long it is.
        RequestTimeout: It is late.
        ValidationFailed: It has no ticket.
    """
    length = request.headers.get("content-length", "")
    is_told = length.isascii() and length.isdigit() and "content-encoding" not in request.headers
    if not is_told or int(length) > _FORM_BYTES_MAX:
        raise too_large(_FORM_BYTES_MAX)
    try:
        async with asyncio.timeout(_FORM_S):
            return await read_form(request, TicketForm)
    except TimeoutError:
        raise late_body(_FORM_S) from None
