"""The routes under /v1: the operator's, who is asked for their token first, and tenants' own."""

from fastapi import APIRouter, Depends

from freehold.contracts.restores import NewRestore
from freehold.contracts.tenants import NewApiKey, NewTenant, TenantLimits
from freehold_tenant_manager.routes import (
    backups,
    exports,
    keys,
    operations,
    regions,
    restores,
    tenants,
)
from freehold_tenant_manager.routes.dependencies import operator

REQUEST_MODELS = (NewTenant, TenantLimits, NewApiKey, NewRestore)

# The token is asked for before anything else of the request is looked at.
router = APIRouter(prefix="/v1", dependencies=[Depends(operator)])
for part in (tenants, keys, regions, operations, exports, backups, restores):
    router.include_router(part.router)

own_router = APIRouter(prefix="/v1")
own_router.include_router(exports.own_router)
