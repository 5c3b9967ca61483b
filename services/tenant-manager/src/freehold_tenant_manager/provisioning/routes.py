"""The route that makes a tenant."""

from typing import Annotated

from fastapi import APIRouter, Request, Response

from freehold.contracts.errors import ClocksDisagree, TenantExists
from freehold.contracts.excerpts import excerpt
from freehold.http.bodies import field_errors, json_body, parse, read_body
from freehold.http.openapi import answering
from freehold_tenant_manager.contracts.tenants import NewTenant, ProvisionedTenant
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.http.dependencies import NO_QUERY, SECRET, TheCatalog, answer
from freehold_tenant_manager.operators.route import OperatorRoute
from freehold_tenant_manager.provisioning.provisioner import Provisioner

router = APIRouter(route_class=OperatorRoute)
_TheProvisioner = Annotated[Provisioner, component(Provisioner)]


@router.post(
    "/tenants",
    operation_id="create_tenant",
    tags=["tenants"],
    summary="Make a tenant; the same request again changes nothing.",
    status_code=201,
    responses={
        200: {"model": ProvisionedTenant, "description": "The tenant existed already; no key."},
        201: {"model": ProvisionedTenant, "description": "Made, with their first API key."},
    },
    openapi_extra={**json_body(NewTenant), **answering(TenantExists, ClocksDisagree)},
    dependencies=NO_QUERY,
)
async def create_tenant(
    request: Request, catalog: TheCatalog, provisioner: _TheProvisioner
) -> Response:
    """Make a tenant."""
    wanted = parse(NewTenant, await read_body(request))
    if wanted.region != provisioner.region:
        detail = f"region must be {provisioner.region}, and was {excerpt(wanted.region)}"
        raise field_errors([("/region", detail)])
    # A tenant made in the future could not be restored to times before that.
    catalog.agreed_now()
    created = await provisioner.create(wanted)
    if created.api_key is None:
        return answer(created)
    return answer(created, 201, SECRET)
