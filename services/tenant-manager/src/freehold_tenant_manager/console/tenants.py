"""The page of all tenants: figures of each and of all, and what is not well."""

from datetime import UTC, datetime
from typing import Annotated, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BeforeValidator, Field

from freehold.console.forms import Form, read_form
from freehold.http.parameters import read_query
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.console.columns import COLUMNS, ORDERS, Row, ordered
from freehold_tenant_manager.console.concerns import Concerns
from freehold_tenant_manager.console.fields import SearchQuery, unless_any
from freehold_tenant_manager.console.health import Health
from freehold_tenant_manager.console.pages import HOME, LiveQuery, Part, live, show, show_secret
from freehold_tenant_manager.console.route import ConsoleRoute
from freehold_tenant_manager.contracts.names import TenantId
from freehold_tenant_manager.contracts.tenants import NewTenant, TenantName, TenantStatus
from freehold_tenant_manager.contracts.usage import TenantUsage
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.http.dependencies import TheCatalog
from freehold_tenant_manager.provisioning.provisioner import Provisioner
from freehold_tenant_manager.tenants.store import TenantRow, list_tenants
from freehold_tenant_manager.usage.store import list_usage, total_usage

router = APIRouter(route_class=ConsoleRoute)
_EVERY_S = 5
_HEALTH_EVERY_S = 15
_OTHERS_MAX = 1_000
_SAMPLED = ("active", "suspended")
_STATUSES: tuple[TenantStatus, ...] = get_args(TenantStatus.__value__)
_TheConcerns = Annotated[Concerns, component(Concerns)]
_TheHealth = Annotated[Health, component(Health)]


def _known(order: str) -> str:
    if order not in ORDERS:
        raise ValueError("must be a column of the page, with a minus for the largest first")
    return order


class _Query(SearchQuery):
    name: Annotated[str | None, Field(max_length=200)] = None
    status: Annotated[TenantStatus | None, BeforeValidator(unless_any)] = None
    order: Annotated[str, AfterValidator(_known)] = "tenant"

    def filters(self) -> dict[str, str]:
        """Give what filters, as a query has it."""
        return self.model_dump(include={"name", "status"}, exclude_none=True)


class _RowsQuery(_Query, LiveQuery):
    pass


class _TenantForm(Form):
    tenant_id: TenantId
    name: TenantName


@router.get("/tenants", name="tenants")
async def tenants_page(request: Request, catalog: TheCatalog, concerns: _TheConcerns) -> Response:
    """Show all tenants."""
    query = read_query(_Query, request)
    return show(
        request,
        "tenants.html",
        query=query,
        statuses=_STATUSES,
        columns=COLUMNS,
        sort_address=f"{HOME}?{urlencode({**query.filters(), 'order': ''})}",
        rows=await _rows(request, catalog, concerns, query),
        # Asked for at once, by the page: it may take as long as a silent broker.
        health=live(request, "_health.html", f"{HOME}/health", trigger="load", signs=[]),
    )


@router.get("/tenants/rows", name="tenant_rows")
async def tenant_rows(request: Request, catalog: TheCatalog, concerns: _TheConcerns) -> Response:
    """Show the rows again, if they have changed."""
    query = read_query(_RowsQuery, request)
    return (await _rows(request, catalog, concerns, query)).answer(request, query)


@router.get("/tenants/health", name="health")
async def health_signs(request: Request, health: _TheHealth) -> Response:
    """Show the health of the installation again, if it has changed."""
    query = read_query(LiveQuery, request)
    return live(
        request,
        "_health.html",
        f"{HOME}/health",
        trigger=f"every {_HEALTH_EVERY_S}s",
        signs=await health.signs(),
    ).answer(request, query)


@router.post("/tenants", name="create_tenant")
async def create_tenant(
    request: Request,
    catalog: TheCatalog,
    provisioner: Annotated[Provisioner, component(Provisioner)],
) -> Response:
    """Make a tenant; their first key is shown this once."""
    form = await read_form(request, _TenantForm)
    # A tenant made in the future could not be restored to times before that.
    catalog.agreed_now()
    created = await provisioner.create(NewTenant(**dict(form), region=provisioner.region))
    return show_secret(request, "created.html", created=created)


async def _rows(request: Request, catalog: Catalog, concerns: Concerns, query: _Query) -> Part:
    async with catalog.connection() as connection:
        usage = await list_usage(connection)
        totals = await total_usage(connection, usage)
        for status in _STATUSES:
            if status not in _SAMPLED and (status == query.status or status != "deleted"):
                others = await list_tenants(
                    connection, after=None, rows_max=_OTHERS_MAX, status=status
                )
                usage += [_without_figures(row) for row in others]
    now = datetime.now(UTC)
    shown = [Row(each, concerns.of_tenant(each, now)) for each in usage if _is_wanted(each, query)]
    return live(
        request,
        "_tenant_rows.html",
        f"{HOME}/rows",
        trigger=f"every {_EVERY_S}s",
        tag="tbody",
        query={**query.filters(), "order": query.order},
        rows=ordered(shown, query.order),
        totals=totals,
        columns=COLUMNS,
        # Ages grow by the minute, so that rows without news are not sent again.
        minute=now.replace(second=0, microsecond=0),
        is_filtered=bool(query.filters()),
    )


def _is_wanted(usage: TenantUsage, query: _Query) -> bool:
    name = (query.name or "").casefold()
    return (query.status in (None, usage.status)) and (
        name in usage.tenant_id or name in usage.name.casefold()
    )


def _without_figures(row: TenantRow) -> TenantUsage:
    """Show a tenant whom nobody samples: being made, being deleted, or deleted."""
    return TenantUsage(
        tenant_id=row.tenant_id,
        name=row.name,
        status=row.status,
        schema_version=row.schema_version,
        sampled_at=None,
        known_at=None,
        size_bytes=None,
        growth_bytes_per_day=None,
        size_share=0,
        events=None,
        events_per_s=None,
        accounts=None,
        events_behind=None,
        seconds_behind=None,
        connections=None,
        database_s_per_s=None,
        database_s=0,
        services_s=0,
        cpu_share=0,
        requests=0,
        errors=0,
        doorbells_parked=0,
        slowest_read_s=None,
        last_backup_at=None,
        last_trial_at=None,
        backups_bytes=0,
        archived_at=None,
        archive_behind_s=None,
    )
