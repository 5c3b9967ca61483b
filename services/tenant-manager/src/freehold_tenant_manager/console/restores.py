"""The page that brings a tenant's ledger back: a preview first, then the act."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Request, Response
from pydantic import Field

from freehold.console.forms import read_form
from freehold.console.pages import is_fragment
from freehold.http.bodies import field_errors
from freehold.http.parameters import read_query
from freehold_tenant_manager.archive.epochs import list_epochs
from freehold_tenant_manager.backups.store import find_last_backup
from freehold_tenant_manager.console.fields import Confirmed, SearchQuery, UtcField
from freehold_tenant_manager.console.pages import leave
from freehold_tenant_manager.console.preview import Previews
from freehold_tenant_manager.console.route import ConsoleRoute
from freehold_tenant_manager.console.tenant import show_tenant
from freehold_tenant_manager.contracts.restores import NewRestore
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.http.dependencies import TenantId, TheCatalog
from freehold_tenant_manager.operations.dependencies import TheOperations
from freehold_tenant_manager.restore.asking import ask_for_restore

router = APIRouter(route_class=ConsoleRoute)
_PATH = "/tenants/{tenant_id}/restore"


class _PointQuery(SearchQuery):
    """What the ledger is to be brought back to; one of the three."""

    to: UtcField | None = None
    to_seq: Annotated[int, Field(ge=1)] | None = None
    backup_id: UUID | None = None

    @property
    def given(self) -> dict[str, str]:
        """What is given, as the fields of a form have it."""
        to = None if self.to is None else self.to.isoformat()
        points = {"to": to, "to_seq": self.to_seq, "backup_id": self.backup_id}
        return {name: str(value) for name, value in points.items() if value is not None}

    def wanted(self, *, preview: bool = False) -> NewRestore:
        """Give the restore to this point.

        Raises:
            ValidationFailed: Not exactly one point is given.
        """
        if len(self.given) != 1:
            raise field_errors([("", "give one point: a time, an event's number or a backup")])
        return NewRestore(to=self.to, to_seq=self.to_seq, backup_id=self.backup_id, preview=preview)


class _RestoreForm(Confirmed, _PointQuery):
    preview: Literal["yes", "no"]


@router.get(_PATH, name="restore")
async def restore_page(
    request: Request,
    catalog: TheCatalog,
    previews: Annotated[Previews, component(Previews)],
    tenant_id: TenantId,
) -> Response:
    """Ask for a point in time; say what a restore to it would do."""
    query = read_query(_PointQuery, request)
    preview = await previews.preview(tenant_id, query.wanted()) if query.given else None
    async with catalog.connection() as connection:
        epochs = await list_epochs(connection, tenant_id)
        last_backup = await find_last_backup(connection, tenant_id)
    return await show_tenant(
        request,
        catalog,
        "_preview.html" if is_fragment(request) else "restore.html",
        tenant_id,
        tab="restore",
        query=query,
        preview=preview,
        archive=epochs[-1].shown() if epochs else None,
        last_backup=last_backup,
    )


@router.post(_PATH, name="restore_tenant")
async def restore(
    request: Request, catalog: TheCatalog, operations: TheOperations, tenant_id: TenantId
) -> Response:
    """Begin a restore: beside the tenant's own database, or in its place if the id is typed."""
    form = await read_form(request, _RestoreForm)
    if form.preview == "no":
        form.require(tenant_id)
    wanted = form.wanted(preview=form.preview == "yes")
    operation = await ask_for_restore(catalog, operations, tenant_id, wanted)
    return leave(request, f"/console/operations/{operation.operation_id}")
