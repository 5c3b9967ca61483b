"""The page of migrations across tenants: versions, progress, failures."""

from typing import Annotated, get_args

from fastapi import APIRouter, Request, Response
from pydantic import BeforeValidator

from freehold.console.forms import Form, read_form
from freehold.http.parameters import NoQuery, PageQuery, read_query
from freehold.ledger.schema import LEDGER_VERSION, LEDGER_VERSION_MIN, Phase
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.console.fields import unless_any
from freehold_tenant_manager.console.pages import LiveQuery, Part, leave, live, show
from freehold_tenant_manager.console.route import ConsoleRoute
from freehold_tenant_manager.contracts.migrations import MigrationStatus, NewMigration, TenantIds
from freehold_tenant_manager.http.dependencies import TENANT_ID, TheCatalog
from freehold_tenant_manager.http.pages import read_filtered_page
from freehold_tenant_manager.migrations.asking import ask_for_migration
from freehold_tenant_manager.migrations.store import (
    count_statuses,
    count_versions,
    list_tenant_migrations,
)
from freehold_tenant_manager.operations.dependencies import TheOperations
from freehold_tenant_manager.operations.kinds import MIGRATION
from freehold_tenant_manager.operations.store import find_last_operation

router = APIRouter(route_class=ConsoleRoute)
_PATH = "/console/migrations"
_EVERY_S = 3


def _words(text: str) -> list[str] | None:
    return text.replace(",", " ").split() or None


class _Filter(NoQuery):
    status: Annotated[MigrationStatus | None, BeforeValidator(unless_any)] = None


class _PageQuery(_Filter, PageQuery):
    pass


class _MigrationForm(Form):
    phase: Phase
    tenants: Annotated[TenantIds | None, BeforeValidator(_words)] = None


@router.get("/migrations", name="migrations")
async def migrations_page(request: Request, catalog: TheCatalog) -> Response:
    """Show which versions tenants' ledgers have, and how their migration went."""
    page = read_filtered_page(_PageQuery, request, TENANT_ID, "console-migrations")
    async with catalog.connection() as connection:
        rows = await list_tenant_migrations(
            connection,
            ledger_version=LEDGER_VERSION,
            status=page.query.status,
            after=page.after,
            rows_max=page.rows_max,
        )
    shown, cursor = page.cut(rows, lambda row: str(row["tenant_id"]))
    return show(
        request,
        "migrations.html",
        query=page.query,
        statuses=get_args(MigrationStatus.__value__),
        summary=await _summary(request, catalog),
        tenants=shown,
        cursor=cursor,
        is_later=page.after is not None,
    )


@router.get("/migrations/summary", name="migrations_summary")
async def migrations_summary(request: Request, catalog: TheCatalog) -> Response:
    """Show versions and progress again, if they have changed."""
    query = read_query(LiveQuery, request)
    return (await _summary(request, catalog)).answer(request, query)


@router.post("/migrations", name="migrate_ledgers")
async def begin_migration(
    request: Request, catalog: TheCatalog, operations: TheOperations
) -> Response:
    """Ask for a migration of some ledgers, or of all."""
    form = await read_form(request, _MigrationForm)
    wanted = NewMigration(phase=form.phase, tenants=form.tenants)
    operation = await ask_for_migration(catalog, operations, wanted)
    return leave(request, f"/console/operations/{operation.operation_id}")


async def _summary(request: Request, catalog: Catalog) -> Part:
    async with catalog.connection() as connection:
        versions = await count_versions(connection)
        statuses = await count_statuses(connection, LEDGER_VERSION)
        last = await find_last_operation(connection, MIGRATION)
    return live(
        request,
        "_migrations_summary.html",
        f"{_PATH}/summary",
        trigger=f"every {_EVERY_S}s",
        versions=versions,
        statuses=statuses,
        operation=last,
        ledger_version=LEDGER_VERSION,
        ledger_version_min=LEDGER_VERSION_MIN,
    )
