"""The operator's routes under /v1. Every one of them asks for the operator's token first."""

from fastapi import APIRouter, Depends

from freehold.contracts.credentials import NewPasswords
from freehold.contracts.migrations import NewMigration
from freehold.contracts.redriving import NewRedrive
from freehold.contracts.restores import NewRestore
from freehold.contracts.tenants import NewApiKey, NewApiKeyInPlace, NewTenant, TenantLimits
from freehold_tenant_manager.routes import (
    backups,
    credentials,
    doorbells,
    exports,
    keys,
    lives,
    migrations,
    operations,
    regions,
    restores,
    tenants,
    verifications,
)
from freehold_tenant_manager.routes.dependencies import operator

REQUEST_MODELS = (
    NewTenant,
    TenantLimits,
    NewApiKey,
    NewApiKeyInPlace,
    NewPasswords,
    NewRestore,
    NewMigration,
    NewRedrive,
)
_PARTS = (
    tenants,
    lives,
    keys,
    credentials,
    regions,
    operations,
    exports,
    backups,
    restores,
    verifications,
    migrations,
    doorbells,
)

# The token is asked for before anything else of the request is looked at.
router = APIRouter(prefix="/v1", dependencies=[Depends(operator)])
for part in _PARTS:
    router.include_router(part.router)

own_router = APIRouter(prefix="/v1")
own_router.include_router(exports.own_router)
