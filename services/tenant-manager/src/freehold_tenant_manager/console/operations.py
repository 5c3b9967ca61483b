"""The pages of operations: all of them, and one with its progress."""

from collections.abc import Sequence
from typing import Annotated, get_args
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import BeforeValidator

from freehold.contracts.errors import NotFound
from freehold.http.parameters import PageQuery, read_query
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.console.fields import SearchQuery, unless_any
from freehold_tenant_manager.console.pages import LiveQuery, Part, live, show
from freehold_tenant_manager.console.route import ConsoleRoute
from freehold_tenant_manager.contracts.names import TenantId
from freehold_tenant_manager.contracts.operations import OperationStatus
from freehold_tenant_manager.http.dependencies import TheCatalog
from freehold_tenant_manager.http.pages import UUID_NAME, read_filtered_page
from freehold_tenant_manager.operations.routes import OperationId
from freehold_tenant_manager.operations.store import OperationRow, find_operation, list_operations

router = APIRouter(route_class=ConsoleRoute)
_PATH = "/console/operations"
_LIVE = "every 2s"
_ROWS_MAX = 100
_UNDER_WAY = ("queued", "running")


class _Filter(SearchQuery):
    tenant_id: TenantId | None = None
    status: Annotated[OperationStatus | None, BeforeValidator(unless_any)] = None

    def given(self) -> dict[str, str]:
        """Give what filters, as a query has it."""
        return self.model_dump(exclude_none=True, include={"tenant_id", "status"})


class _PageQuery(_Filter, PageQuery):
    pass


class _RowsQuery(_Filter, LiveQuery):
    pass


@router.get("/operations", name="operations")
async def operations_page(request: Request, catalog: TheCatalog) -> Response:
    """Show all operations, the newest first; live on the first page."""
    page = read_filtered_page(_PageQuery, request, UUID_NAME, "console-operations")
    async with catalog.connection() as connection:
        rows = await list_operations(
            connection,
            tenant_id=page.query.tenant_id,
            status=page.query.status,
            after=page.after_id,
            rows_max=page.rows_max,
        )
    shown, cursor = page.cut(rows, lambda row: str(row.operation_id))
    filters = page.query.given()
    is_later = page.after is not None
    return show(
        request,
        "operations.html",
        query=page.query,
        statuses=get_args(OperationStatus.__value__),
        rows=_rows(request, shown, filters, trigger="" if is_later else _LIVE),
        is_later=is_later,
        first_address=f"{_PATH}?{urlencode(filters)}",
        next_address=cursor and f"{_PATH}?{urlencode({**filters, 'cursor': cursor})}",
    )


@router.get("/operations/rows", name="operation_rows")
async def operation_rows(request: Request, catalog: TheCatalog) -> Response:
    """Show the first page's rows again, if they have changed."""
    query = read_query(_RowsQuery, request)
    async with catalog.connection() as connection:
        rows = await list_operations(
            connection,
            tenant_id=query.tenant_id,
            status=query.status,
            after=None,
            rows_max=_ROWS_MAX,
        )
    return _rows(request, rows, query.given(), trigger=_LIVE).answer(request, query)


@router.get("/operations/{operation_id}", name="operation")
async def operation_page(
    request: Request, catalog: TheCatalog, operation_id: OperationId
) -> Response:
    """Show an operation."""
    row = await _require(catalog, operation_id)
    return show(request, "operation.html", operation=row, part=_facts(request, row))


@router.get("/operations/{operation_id}/facts", name="operation_facts")
async def operation_facts(
    request: Request, catalog: TheCatalog, operation_id: OperationId
) -> Response:
    """Show an operation's progress again, if it has changed."""
    query = read_query(LiveQuery, request)
    return _facts(request, await _require(catalog, operation_id)).answer(request, query)


def _rows(
    request: Request, rows: Sequence[OperationRow], filters: dict[str, str], *, trigger: str
) -> Part:
    return live(
        request,
        "_operation_rows.html",
        f"{_PATH}/rows",
        trigger=trigger,
        tag="tbody",
        query=filters,
        operations=rows,
    )


def _facts(request: Request, row: OperationRow) -> Part:
    return live(
        request,
        "_operation_facts.html",
        f"{_PATH}/{row.operation_id}/facts",
        trigger=_LIVE if row.status in _UNDER_WAY else "",
        operation=row,
        parameters={name: value for name, value in row.parameters.items() if value is not None},
    )


async def _require(catalog: Catalog, operation_id: UUID) -> OperationRow:
    async with catalog.connection() as connection:
        row = await find_operation(connection, operation_id)
    if row is None:
        raise NotFound("there is no such operation")
    return row
