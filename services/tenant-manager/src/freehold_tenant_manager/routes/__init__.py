"""The operator's routes under /v1. Every one of them asks for the operator's token first."""

from fastapi import APIRouter, Depends

from freehold.contracts.tenants import NewApiKey, NewTenant, TenantLimits
from freehold_tenant_manager.routes import keys, operations, regions, tenants
from freehold_tenant_manager.routes.dependencies import operator

REQUEST_MODELS = (NewTenant, TenantLimits, NewApiKey)

# The token is asked for before anything else of the request is looked at.
router = APIRouter(prefix="/v1", dependencies=[Depends(operator)])
for part in (tenants, keys, regions, operations):
    router.include_router(part.router)
