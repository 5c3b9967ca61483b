"""The routes under /v1: the operator's, who is asked for their token first, and tenants' own."""

from fastapi import APIRouter, Depends

from freehold.contracts.credentials import NewPasswords
from freehold.contracts.tenants import NewApiKey, NewApiKeyInPlace, NewTenant, TenantLimits
from freehold_tenant_manager.routes import (
    backups,
    credentials,
    exports,
    keys,
    lives,
    operations,
    regions,
    tenants,
)
from freehold_tenant_manager.routes.dependencies import operator

REQUEST_MODELS = (NewTenant, TenantLimits, NewApiKey, NewApiKeyInPlace, NewPasswords)

# The token is asked for before anything else of the request is looked at.
router = APIRouter(prefix="/v1", dependencies=[Depends(operator)])
for part in (tenants, lives, keys, credentials, regions, operations, exports, backups):
    router.include_router(part.router)

own_router = APIRouter(prefix="/v1")
own_router.include_router(exports.own_router)
