"""Parked doorbells, and their way back into the projector's queue."""

from fastapi import APIRouter, Request, Response

from freehold.contracts.operations import Operation
from freehold.contracts.redriving import NewRedrive
from freehold.service.bodies import json_body, parse
from freehold_tenant_manager.redriving import required_broker
from freehold_tenant_manager.routes.dependencies import NO_QUERY, TheManager, answer

router = APIRouter()


@router.post(
    "/doorbells/redrive",
    tags=["doorbells"],
    summary="Put parked doorbells back into the projector's queue.",
    status_code=202,
    responses={202: {"model": Operation, "description": "They are being put back."}},
    openapi_extra=dict(json_body(NewRedrive, required=False)),
    dependencies=NO_QUERY,
)
async def redrive(request: Request, manager: TheManager) -> Response:
    """Have parked doorbells put back, each once."""
    wanted = parse(NewRedrive, await request.body() or b"{}")
    required_broker(manager.settings)
    operation = await manager.parts.operations.submit("redrive", parameters=wanted.model_dump())
    return answer(operation, 202)
