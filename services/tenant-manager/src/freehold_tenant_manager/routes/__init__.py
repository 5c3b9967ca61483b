"""The operator's routes under /v1. Every one of them asks for the operator's token first."""

from fastapi import APIRouter, Depends

from freehold.contracts.redriving import NewRedrive
from freehold.contracts.tenants import NewApiKey, NewTenant, TenantLimits
from freehold_tenant_manager.routes import (
    doorbells,
    keys,
    operations,
    regions,
    tenants,
    verifications,
)
from freehold_tenant_manager.routes.dependencies import operator

REQUEST_MODELS = (NewTenant, TenantLimits, NewApiKey, NewRedrive)

# The token is asked for before anything else of the request is looked at.
router = APIRouter(prefix="/v1", dependencies=[Depends(operator)])
for part in (tenants, keys, regions, operations, verifications, doorbells):
    router.include_router(part.router)
