"""The routes that show what tenants use."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from freehold.contracts.errors import NotFound
from freehold.http.cursors import cursor_refused
from freehold.http.parameters import PageQuery, documented_query
from freehold_tenant_manager.contracts.usage import TenantUsage, TenantUsageDetails, UsagePage
from freehold_tenant_manager.http.dependencies import (
    NO_QUERY,
    TENANT_ID,
    TenantId,
    TheCatalog,
    answer,
)
from freehold_tenant_manager.http.pages import read_filtered_page
from freehold_tenant_manager.operators.route import OperatorRoute
from freehold_tenant_manager.usage.store import (
    find_usage,
    list_slow_reads,
    list_usage,
    total_usage,
    usage_series,
)

router = APIRouter(route_class=OperatorRoute)

Order = Literal[
    "tenant_id",
    "size_bytes",
    "growth_bytes_per_day",
    "events",
    "events_per_s",
    "accounts",
    "seconds_behind",
    "connections",
    "cpu_share",
    "requests",
    "errors",
    "slowest_read_s",
    "archive_behind_s",
]


class _Query(PageQuery):
    order: Annotated[
        Order, Field(description="By what: `tenant_id` ascending, anything else descending.")
    ] = "tenant_id"


@router.get(
    "/usage",
    operation_id="list_usage",
    tags=["usage"],
    summary="What each tenant uses, and all together.",
    responses={200: {"model": UsagePage}},
    openapi_extra={"parameters": documented_query(_Query)},
)
async def get_usage(request: Request, catalog: TheCatalog) -> Response:
    """List tenants' usage. Between two pages the figures may change, and with them the order."""
    page = read_filtered_page(_Query, request, TENANT_ID, "usage")
    async with catalog.connection() as connection:
        usage = await list_usage(connection)
        totals = await total_usage(connection, usage)
    ranked = sorted(usage, key=_rank(page.query.order))
    rows = ranked[_start(ranked, page.after) :][: page.rows_max]
    shown, next_cursor = page.cut(rows, lambda each: each.tenant_id)
    return answer(UsagePage(totals=totals, data=list(shown), next_cursor=next_cursor))


@router.get(
    "/tenants/{tenant_id}/usage",
    operation_id="get_tenant_usage",
    tags=["usage"],
    summary="What a tenant uses, now and over time, and their slowest reads.",
    responses={200: {"model": TenantUsageDetails}},
    dependencies=NO_QUERY,
)
async def get_tenant_usage(catalog: TheCatalog, tenant_id: TenantId) -> Response:
    """Show a tenant's usage."""
    async with catalog.connection() as connection:
        usage = await find_usage(connection, tenant_id)
        if usage is None:
            raise NotFound("there is no such active or suspended tenant")
        series = await usage_series(connection, tenant_id)
        slowest = await list_slow_reads(connection, tenant_id)
    return answer(TenantUsageDetails(usage=usage, series=series, slowest_reads=slowest))


def _rank(order: Order) -> Callable[[TenantUsage], tuple[bool, float, str]]:
    def rank(usage: TenantUsage) -> tuple[bool, float, str]:
        figure = 0.0 if order == "tenant_id" else getattr(usage, order)
        # What is not known yet comes last.
        return figure is None, -(figure or 0.0), usage.tenant_id

    return rank


def _start(ranked: Sequence[TenantUsage], after: str | None) -> int:
    """Give where a page begins.

    Raises:
        ValidationFailed: The tenant that the page before ended with is gone.
    """
    if after is None:
        return 0
    for index, usage in enumerate(ranked):
        if usage.tenant_id == after:
            return index + 1
    raise cursor_refused()
