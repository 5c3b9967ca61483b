"""Credentials: shows the customer's, and replaces passwords of tenants' roles."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from freehold.http.bodies import json_body, parse, read_body
from freehold_tenant_manager.contracts.credentials import (
    CustomerCredentials,
    NewPasswords,
    RotatedCredentials,
)
from freehold_tenant_manager.credentials.credentials import Credentials
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.http.dependencies import NO_QUERY, SECRET, TenantId, answer
from freehold_tenant_manager.operators.route import OperatorRoute

router = APIRouter(route_class=OperatorRoute)
TheCredentials = Annotated[Credentials, component(Credentials)]


@router.get(
    "/tenants/{tenant_id}/credentials",
    operation_id="get_credentials",
    tags=["credentials"],
    summary="Show the customer's own, read-only connection string.",
    responses={200: {"model": CustomerCredentials}},
    dependencies=NO_QUERY,
)
async def get_credentials(credentials: TheCredentials, tenant_id: TenantId) -> Response:
    """Show the customer's credentials."""
    return answer(await credentials.of_customer(tenant_id), headers=SECRET)


@router.post(
    "/tenants/{tenant_id}/credentials/rotate",
    operation_id="rotate_credentials",
    tags=["credentials"],
    summary="Replace the passwords of a tenant's roles; no request fails meanwhile.",
    responses={200: {"model": RotatedCredentials}},
    openapi_extra=dict(json_body(NewPasswords, required=False)),
    dependencies=NO_QUERY,
)
async def post_rotation(
    request: Request, credentials: TheCredentials, tenant_id: TenantId
) -> Response:
    """Replace passwords."""
    wanted = parse(NewPasswords, await read_body(request) or b"{}")
    return answer(await credentials.rotate(tenant_id, wanted.service))
