"""Credentials of tenants' own roles: the customer's is shown, and any of them replaced."""

from fastapi import APIRouter, Request, Response

from freehold.contracts.credentials import CustomerCredentials, NewPasswords, RotatedCredentials
from freehold.service.bodies import json_body, parse
from freehold_tenant_manager.routes.dependencies import (
    NO_QUERY,
    SECRET,
    TenantId,
    TheManager,
    answer,
)

router = APIRouter()


@router.get(
    "/tenants/{tenant_id}/credentials",
    tags=["credentials"],
    summary="Show the customer's own, read-only connection string.",
    responses={200: {"model": CustomerCredentials}},
    dependencies=NO_QUERY,
)
async def get_credentials(manager: TheManager, tenant_id: TenantId) -> Response:
    """Show the customer's credentials."""
    return answer(await manager.parts.credentials.of_customer(tenant_id), headers=SECRET)


@router.post(
    "/tenants/{tenant_id}/credentials/rotate",
    tags=["credentials"],
    summary="Replace the passwords of a tenant's roles; no request fails meanwhile.",
    responses={200: {"model": RotatedCredentials}},
    openapi_extra=dict(json_body(NewPasswords, required=False)),
    dependencies=NO_QUERY,
)
async def post_rotation(request: Request, manager: TheManager, tenant_id: TenantId) -> Response:
    """Replace passwords."""
    wanted = parse(NewPasswords, await request.body() or b"{}")
    return answer(await manager.parts.credentials.rotate(tenant_id, wanted.service))
