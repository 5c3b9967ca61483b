"""The page of a customer's own access: their connection string, and the export."""

from typing import Literal

from fastapi import APIRouter, Request, Response

from freehold.console.forms import Form, read_form
from freehold.http.parameters import read_query
from freehold_tenant_manager.console.fields import Confirmed, NoFields
from freehold_tenant_manager.console.pages import leave, show_secret
from freehold_tenant_manager.console.route import ConsoleRoute
from freehold_tenant_manager.console.tenant import TenantQuery, home, show_tenant
from freehold_tenant_manager.credentials.routes import TheCredentials
from freehold_tenant_manager.exports.routes import TheExports
from freehold_tenant_manager.http.dependencies import TenantId, TheCatalog

router = APIRouter(route_class=ConsoleRoute)
_PATH = "/tenants/{tenant_id}"
EXPORT_PATH = "/console/tenants/{tenant_id}/export"


class _ExportForm(Form):
    format: Literal["sql", "custom"] = "sql"


class _RotationForm(Confirmed):
    service: Literal["auditor"] | None = None


@router.get(f"{_PATH}/credentials", name="credentials")
async def credentials_page(request: Request, catalog: TheCatalog, tenant_id: TenantId) -> Response:
    """Offer the connection string and the export; show no secret."""
    query = read_query(TenantQuery, request)
    return await show_tenant(
        request, catalog, "credentials.html", tenant_id, tab="credentials", said=query.said
    )


@router.post(f"{_PATH}/credentials", name="get_credentials")
async def show_credentials(
    request: Request, credentials: TheCredentials, tenant_id: TenantId
) -> Response:
    """Show the customer's own connection string."""
    await read_form(request, NoFields)
    shown = await credentials.of_customer(tenant_id)
    return show_secret(request, "dsn.html", credentials=shown, home=home(tenant_id))


@router.post(f"{_PATH}/credentials/rotate", name="rotate_credentials")
async def rotate_credentials(
    request: Request, credentials: TheCredentials, tenant_id: TenantId
) -> Response:
    """Replace passwords; the tenant's id is typed, since the customer's old one opens no more."""
    form = await read_form(request, _RotationForm)
    form.require(tenant_id)
    await credentials.rotate(tenant_id, form.service)
    return leave(request, home(tenant_id, "credentials", said="rotated"))


@router.post(f"{_PATH}/export", name="export_ledger")
async def export(request: Request, exports: TheExports, tenant_id: TenantId) -> Response:
    """Download the whole ledger as one file."""
    form = await read_form(request, _ExportForm)
    return exports.download(tenant_id, form.format)
