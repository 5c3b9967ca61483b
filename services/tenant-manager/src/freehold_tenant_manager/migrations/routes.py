"""Migrations of tenants' ledgers: requests, and their state."""

from typing import get_args

from fastapi import APIRouter, Request, Response
from pydantic import Field

from freehold.http.bodies import json_body, parse, read_body
from freehold.http.parameters import PageQuery, documented_query
from freehold.ledger.schema import LEDGER_SOURCE, LEDGER_VERSION, LEDGER_VERSION_MIN, Phase
from freehold_tenant_manager.contracts.migrations import (
    MigrationOverview,
    MigrationStatus,
    NewMigration,
    TenantMigration,
    VersionCount,
)
from freehold_tenant_manager.contracts.operations import Operation
from freehold_tenant_manager.http.dependencies import NO_QUERY, TENANT_ID, TheCatalog, answer
from freehold_tenant_manager.http.pages import read_filtered_page
from freehold_tenant_manager.migrations.asking import ask_for_migration
from freehold_tenant_manager.migrations.store import (
    count_statuses,
    count_versions,
    list_tenant_migrations,
)
from freehold_tenant_manager.operations.dependencies import TheOperations
from freehold_tenant_manager.operators.route import OperatorRoute

router = APIRouter(route_class=OperatorRoute)


class _Query(PageQuery):
    status: MigrationStatus | None = Field(default=None, description="Only those in this status.")


@router.post(
    "/migrations",
    operation_id="migrate_ledgers",
    tags=["migrations"],
    summary="Migrate the ledgers of some tenants, or of all.",
    status_code=202,
    responses={202: {"model": Operation}},
    openapi_extra=dict(json_body(NewMigration, required=False)),
    dependencies=NO_QUERY,
)
async def create_migration(
    request: Request, catalog: TheCatalog, operations: TheOperations
) -> Response:
    """Request a migration."""
    wanted = parse(NewMigration, await read_body(request) or b"{}")
    return answer(await ask_for_migration(catalog, operations, wanted), 202)


@router.get(
    "/migrations",
    operation_id="list_migrations",
    tags=["migrations"],
    summary="Show which versions tenants' ledgers have, and how their migration went.",
    responses={200: {"model": MigrationOverview}},
    openapi_extra={"parameters": documented_query(_Query)},
)
async def get_migrations(request: Request, catalog: TheCatalog) -> Response:
    """Show tenants' versions and migrations."""
    page = read_filtered_page(_Query, request, TENANT_ID, "migrations")
    async with catalog.connection() as connection:
        rows = await list_tenant_migrations(
            connection,
            ledger_version=LEDGER_VERSION,
            status=page.query.status,
            after=page.after,
            rows_max=page.rows_max,
        )
        versions = await count_versions(connection)
        statuses = await count_statuses(connection, LEDGER_VERSION)
    shown, next_cursor = page.cut(rows, lambda row: str(row["tenant_id"]))
    return answer(
        MigrationOverview(
            ledger_version=LEDGER_VERSION,
            ledger_version_min=LEDGER_VERSION_MIN,
            versions=[VersionCount(**version) for version in versions],
            statuses={
                status: statuses.get(status, 0) for status in get_args(MigrationStatus.__value__)
            },
            data=[TenantMigration(**row, due=_due(row["schema_version"])) for row in shown],
            next_cursor=next_cursor,
        )
    )


def _due(schema_version: int) -> Phase | None:
    """Give the phase whose migrations a ledger of this version lacks."""
    if schema_version < LEDGER_SOURCE.through("before").version:
        return "before"
    return "after" if schema_version < LEDGER_VERSION else None
