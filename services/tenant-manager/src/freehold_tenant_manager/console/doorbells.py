"""The page of parked doorbells."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from freehold.console.forms import Form, read_form
from freehold.http.parameters import NoQuery, read_query
from freehold_tenant_manager.console.pages import leave, show
from freehold_tenant_manager.console.route import ConsoleRoute
from freehold_tenant_manager.contracts.redrive import LIMIT_MAX
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.http.dependencies import TheCatalog
from freehold_tenant_manager.operations.dependencies import TheOperations
from freehold_tenant_manager.operations.kinds import REDRIVE
from freehold_tenant_manager.operations.store import find_last_operation
from freehold_tenant_manager.overview.survey import Survey
from freehold_tenant_manager.redrive.redriver import Redriver

router = APIRouter(route_class=ConsoleRoute)


class _RedriveForm(Form):
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX)] | None = None


@router.get("/doorbells", name="doorbells")
async def doorbells_page(
    request: Request, catalog: TheCatalog, survey: Annotated[Survey, component(Survey)]
) -> Response:
    """Show how many doorbells are parked, and how the last redrive went."""
    read_query(NoQuery, request)
    broker, parked = await survey.parked()
    async with catalog.connection() as connection:
        last = await find_last_operation(connection, REDRIVE)
    return show(request, "doorbells.html", broker=broker, parked=parked, operation=last)


@router.post("/doorbells/redrive", name="redrive_doorbells")
async def redrive(
    request: Request, operations: TheOperations, redriver: Annotated[Redriver, component(Redriver)]
) -> Response:
    """Ask for parked doorbells to be put back, each once."""
    form = await read_form(request, _RedriveForm)
    redriver.require_broker()
    operation = await operations.submit(REDRIVE, None, {"limit": form.limit})
    return leave(request, f"/console/operations/{operation.operation_id}")
