"""The pages of one tenant have this frame; this is the first of them, with the lifecycle."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import Field

from freehold.console.forms import Form, read_form
from freehold.http.parameters import NoQuery, read_query
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.console.fields import Confirmed, NoFields
from freehold_tenant_manager.console.pages import LiveQuery, Part, leave, live, show
from freehold_tenant_manager.console.route import ConsoleRoute
from freehold_tenant_manager.console.usage_charts import usage_charts
from freehold_tenant_manager.contracts.tenants import (
    EVENTS_PER_S_MAX,
    REQUESTS_MAX,
    TenantDetails,
    TenantLimits,
)
from freehold_tenant_manager.deletion.asking import ask_for_deletion
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.http.dependencies import TenantId, TheCatalog
from freehold_tenant_manager.operations.dependencies import TheOperations
from freehold_tenant_manager.operations.kinds import VERIFICATION
from freehold_tenant_manager.operations.store import list_operations
from freehold_tenant_manager.overview.overview import Overview
from freehold_tenant_manager.tenants.store import (
    find_living_tenant,
    limit_tenant,
    require_tenant,
    suspend_tenant,
)
from freehold_tenant_manager.usage.store import find_usage, list_slow_reads, usage_series

router = APIRouter(route_class=ConsoleRoute)
_FACTS_EVERY_S = 10
_OPERATIONS_EVERY_S = 2
_OPERATIONS_MAX = 5
_SLOW_READS_MAX = 10
_SAID = {
    "suspended": "The tenant is suspended: their keys are refused until they are resumed.",
    "resumed": "The tenant is active again: their keys work.",
    "limited": "The limits are set. They apply to every request from now on.",
    "labelled": "The key has its new label.",
    "revoked": "The key is revoked. It works no more.",
    "dropped": "The database is dropped.",
    "rotated": "The passwords are replaced. The old ones open nothing any more.",
}
_TheOverview = Annotated[Overview, component(Overview)]


class TenantQuery(NoQuery):
    """The query of a tenant's pages."""

    said: str | None = None
    """What was done just now, by its name."""


class _LimitsForm(Form):
    events_per_s: Annotated[int, Field(ge=1, le=EVENTS_PER_S_MAX)] | None = None
    requests_max: Annotated[int, Field(ge=1, le=REQUESTS_MAX)] | None = None


def home(tenant_id: str, page: str = "", said: str = "") -> str:
    """Give the address of one of a tenant's pages, with what was done just now."""
    path = f"/console/tenants/{tenant_id}"
    return path + (f"/{page}" if page else "") + (f"?said={said}" if said else "")


async def show_tenant(
    request: Request,
    catalog: Catalog,
    template: str,
    tenant_id: str,
    *,
    tab: str,
    said: str | None = None,
    **context: Any,
) -> Response:
    """Answer with one of a tenant's pages.

    Raises:
        NotFound: There is no such tenant.
    """
    async with catalog.connection() as connection:
        tenant = await require_tenant(connection, tenant_id)
    return show(
        request,
        template,
        tenant=tenant.shown(),
        home=home(tenant_id),
        tab=tab,
        said=_SAID.get(said or ""),
        **context,
    )


@router.get("/tenants/{tenant_id}", name="tenant")
async def tenant_page(
    request: Request, catalog: TheCatalog, overview: _TheOverview, tenant_id: TenantId
) -> Response:
    """Show a tenant: figures, operations, limits, lifecycle."""
    query = read_query(TenantQuery, request)
    details = await overview.details(tenant_id)
    async with catalog.connection() as connection:
        usage = await find_usage(connection, tenant_id)
        series = await usage_series(connection, tenant_id)
        slowest = await list_slow_reads(connection, tenant_id)
    return await show_tenant(
        request,
        catalog,
        "tenant.html",
        tenant_id,
        tab="",
        said=query.said,
        facts=_facts(request, details),
        usage=usage,
        charts=usage_charts(series, datetime.now(UTC)),
        slowest=slowest[:_SLOW_READS_MAX],
        operations=await _operations(request, catalog, tenant_id),
    )


@router.get("/tenants/{tenant_id}/facts", name="tenant_facts")
async def tenant_facts(request: Request, overview: _TheOverview, tenant_id: TenantId) -> Response:
    """Show a tenant's figures again, if they have changed."""
    query = read_query(LiveQuery, request)
    return _facts(request, await overview.details(tenant_id)).answer(request, query)


@router.get("/tenants/{tenant_id}/operations", name="tenant_operations")
async def tenant_operations(request: Request, catalog: TheCatalog, tenant_id: TenantId) -> Response:
    """Show a tenant's last operations again, if they have changed."""
    query = read_query(LiveQuery, request)
    return (await _operations(request, catalog, tenant_id)).answer(request, query)


@router.post("/tenants/{tenant_id}/suspend", name="suspend_tenant")
async def suspend(request: Request, catalog: TheCatalog, tenant_id: TenantId) -> Response:
    """Suspend a tenant; their id is typed, since all of their requests are refused then."""
    (await read_form(request, Confirmed)).require(tenant_id)
    async with catalog.connection() as connection:
        await suspend_tenant(connection, tenant_id, suspended=True)
    return leave(request, home(tenant_id, said="suspended"))


@router.post("/tenants/{tenant_id}/resume", name="resume_tenant")
async def resume(request: Request, catalog: TheCatalog, tenant_id: TenantId) -> Response:
    """Let a suspended tenant's keys work again."""
    await read_form(request, NoFields)
    async with catalog.connection() as connection:
        await suspend_tenant(connection, tenant_id, suspended=False)
    return leave(request, home(tenant_id, said="resumed"))


@router.post("/tenants/{tenant_id}/limits", name="set_tenant_limits")
async def limit(request: Request, catalog: TheCatalog, tenant_id: TenantId) -> Response:
    """Set what each process of ingest takes of a tenant."""
    form = await read_form(request, _LimitsForm)
    async with catalog.connection() as connection:
        await limit_tenant(connection, tenant_id, TenantLimits(**dict(form)))
    return leave(request, home(tenant_id, said="limited"))


@router.post("/tenants/{tenant_id}/verify", name="verify_ledger")
async def verify(
    request: Request, catalog: TheCatalog, operations: TheOperations, tenant_id: TenantId
) -> Response:
    """Ask for the ledger's chain to be recomputed."""
    await read_form(request, NoFields)
    async with catalog.connection() as connection:
        await find_living_tenant(connection, tenant_id)
    operation = await operations.submit(VERIFICATION, tenant_id)
    return leave(request, f"/console/operations/{operation.operation_id}")


@router.post("/tenants/{tenant_id}/delete", name="delete_tenant")
async def delete(
    request: Request, catalog: TheCatalog, operations: TheOperations, tenant_id: TenantId
) -> Response:
    """Delete a tenant, after a final export and a final backup."""
    (await read_form(request, Confirmed)).require(tenant_id)
    operation = await ask_for_deletion(catalog, operations, tenant_id)
    return leave(request, f"/console/operations/{operation.operation_id}")


def _facts(request: Request, details: TenantDetails) -> Part:
    return live(
        request,
        "_tenant_facts.html",
        home(details.tenant_id, "facts"),
        trigger=f"every {_FACTS_EVERY_S}s",
        tenant=details,
    )


async def _operations(request: Request, catalog: Catalog, tenant_id: str) -> Part:
    async with catalog.connection() as connection:
        rows = await list_operations(
            connection, tenant_id=tenant_id, status=None, after=None, rows_max=_OPERATIONS_MAX
        )
    return live(
        request,
        "_operation_rows.html",
        home(tenant_id, "operations"),
        trigger=f"every {_OPERATIONS_EVERY_S}s",
        tag="tbody",
        operations=rows,
    )
