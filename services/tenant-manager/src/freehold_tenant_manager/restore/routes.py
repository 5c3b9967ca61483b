"""Restores, and the retired databases that they leave."""

import re
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from freehold.contracts.errors import ClocksDisagree, DomainError, NotFound
from freehold.contracts.times import rfc_3339
from freehold.http.bodies import field_errors, json_body, parse, read_body
from freehold.http.openapi import answering
from freehold.http.parameters import documented_query
from freehold_tenant_manager.archive.epochs import list_epochs
from freehold_tenant_manager.archive.segments import BEGINNING, Position
from freehold_tenant_manager.contracts.operations import Operation
from freehold_tenant_manager.contracts.restores import FormerDatabasePage, NewRestore
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.http.dependencies import (
    NO_QUERY,
    PAGE_PARAMETERS,
    Confirmation,
    TenantId,
    TheCatalog,
    answer,
    require_confirmation,
)
from freehold_tenant_manager.http.pages import read_page
from freehold_tenant_manager.operations.dependencies import TheOperations
from freehold_tenant_manager.operations.kinds import RESTORE
from freehold_tenant_manager.operators.route import OperatorRoute
from freehold_tenant_manager.restore.plan import find_plan, find_restorable
from freehold_tenant_manager.restore.retired_databases import RetiredDatabases, list_retired
from freehold_tenant_manager.tenants.store import require_tenant

_TheRetired = Annotated[RetiredDatabases, component(RetiredDatabases)]
router = APIRouter(route_class=OperatorRoute)
_NAME = re.compile(r"fh_[0-9a-f]{16}")


async def _database_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise _no_database()
    return name


DatabaseName = Annotated[str, Depends(_database_name)]


@router.post(
    "/tenants/{tenant_id}/restores",
    operation_id="restore_tenant",
    tags=["backups"],
    summary="Restore a tenant to an instant, an event or a backup, without effect on others.",
    status_code=202,
    responses={202: {"model": Operation}},
    openapi_extra={**json_body(NewRestore), **answering(ClocksDisagree)},
    dependencies=NO_QUERY,
)
async def restore(
    request: Request, catalog: TheCatalog, operations: TheOperations, tenant_id: TenantId
) -> Response:
    """Begin a restore."""
    wanted = parse(NewRestore, await read_body(request))
    # Not while it is uncertain what the time is: an instant is compared with it.
    now = catalog.agreed_now()
    async with catalog.connection() as connection:
        tenant = await find_restorable(connection, tenant_id)
        if wanted.to is not None:
            epochs = await list_epochs(connection, tenant_id)
            last = epochs[-1].archived if epochs else BEGINNING
            _require_lived_through(wanted.to, tenant.created_at, now, last)
        # What is known at once is said at once; the restore plans anew, with what is archived then.
        await find_plan(connection, tenant, wanted, now)
    parameters = wanted.model_dump(mode="json")
    return answer(await operations.submit(RESTORE, tenant_id, parameters), 202)


@router.get(
    "/tenants/{tenant_id}/former-databases",
    operation_id="list_former_databases",
    tags=["backups"],
    summary="List the retired databases and previews that restores of a tenant have left.",
    responses={200: {"model": FormerDatabasePage}},
    openapi_extra=PAGE_PARAMETERS,
)
async def get_former_databases(
    request: Request, catalog: TheCatalog, tenant_id: TenantId
) -> Response:
    """List a tenant's retired databases."""
    page = read_page(request, _NAME, "former-databases", tenant_id)
    async with catalog.connection() as connection:
        await require_tenant(connection, tenant_id)
        rows = await list_retired(connection, tenant_id, after=page.after, rows_max=page.rows_max)
    shown, next_cursor = page.cut(rows, lambda row: row.database_name)
    return answer(FormerDatabasePage(data=[row.shown() for row in shown], next_cursor=next_cursor))


@router.delete(
    "/tenants/{tenant_id}/former-databases/{name}",
    operation_id="drop_former_database",
    tags=["backups"],
    summary="Drop a retired database or a preview of a tenant.",
    status_code=204,
    openapi_extra={"parameters": documented_query(Confirmation)},
)
async def drop_former_database(
    request: Request, retired: _TheRetired, tenant_id: TenantId, name: DatabaseName
) -> Response:
    """Drop a retired database."""
    require_confirmation(request, name)
    if not await retired.drop(tenant_id, name):
        raise _no_database()
    return Response(status_code=204)


def _require_lived_through(
    instant: datetime, created_at: datetime, now: datetime, last: Position
) -> None:
    """Let an instant be one that has been, or one that events were recorded at by a clock ahead.

    Raises:
        ValidationFailed: It is neither.
    """
    recorded = _recorded_by(last)
    if instant > max(now, recorded):
        fault = "to must not lie ahead"
        if recorded > now:
            fault += f", and event {last.seq}, the last, was recorded before {recorded.isoformat()}"
    elif instant < created_at:
        fault = f"to must not lie before {rfc_3339(created_at)}: the tenant had no ledger then"
    else:
        return
    raise field_errors([("/to", fault)])


def _recorded_by(position: Position) -> datetime:
    """Say by when an event was recorded: its id holds the millisecond (RFC 9562, section 5.7)."""
    return datetime.fromtimestamp(((position.event_id.int >> 80) + 1) / 1000, UTC)


def _no_database() -> DomainError:
    return NotFound("there is no such database")
