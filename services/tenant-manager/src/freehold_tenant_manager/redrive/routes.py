"""The route that puts parked doorbells back into projector's queue."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from freehold.http.bodies import json_body, parse, read_body
from freehold_tenant_manager.contracts.operations import Operation
from freehold_tenant_manager.contracts.redrive import NewRedrive
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.http.dependencies import NO_QUERY, answer
from freehold_tenant_manager.operations.dependencies import TheOperations
from freehold_tenant_manager.operations.kinds import REDRIVE
from freehold_tenant_manager.operators.route import OperatorRoute
from freehold_tenant_manager.redrive.redriver import Redriver

router = APIRouter(route_class=OperatorRoute)
_TheRedriver = Annotated[Redriver, component(Redriver)]


@router.post(
    "/doorbells/redrive",
    operation_id="redrive_doorbells",
    tags=["doorbells"],
    summary="Put parked doorbells back into the projector's queue.",
    status_code=202,
    responses={202: {"model": Operation, "description": "They are being put back."}},
    openapi_extra=dict(json_body(NewRedrive, required=False)),
    dependencies=NO_QUERY,
)
async def redrive(request: Request, operations: TheOperations, redriver: _TheRedriver) -> Response:
    """Request that parked doorbells are put back, each once."""
    wanted = parse(NewRedrive, await read_body(request) or b"{}")
    redriver.require_broker()
    return answer(await operations.submit(REDRIVE, None, wanted.model_dump()), 202)
