"""The operators' routes under /v1. Every one of them is an OperatorRoute."""

from typing import Annotated

from fastapi import APIRouter, Depends

from freehold_tenant_manager.backups import routes as backups
from freehold_tenant_manager.contracts.credentials import NewPasswords
from freehold_tenant_manager.contracts.empty import Nothing
from freehold_tenant_manager.contracts.migrations import NewMigration
from freehold_tenant_manager.contracts.operators import NewOperator, NewOperatorToken
from freehold_tenant_manager.contracts.redrive import NewRedrive
from freehold_tenant_manager.contracts.restores import NewRestore
from freehold_tenant_manager.contracts.sign_in_links import NewSignInLink
from freehold_tenant_manager.contracts.tenants import (
    NewApiKey,
    NewApiKeyInPlace,
    NewKeyLabel,
    NewTenant,
    TenantLimits,
)
from freehold_tenant_manager.credentials import routes as credentials
from freehold_tenant_manager.deletion import routes as deletion
from freehold_tenant_manager.exports import routes as exports
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.keys import routes as keys
from freehold_tenant_manager.migrations import routes as migrations
from freehold_tenant_manager.operations import routes as operations
from freehold_tenant_manager.operators import act_routes as operator_acts
from freehold_tenant_manager.operators import routes as operators
from freehold_tenant_manager.operators.route import require_operator_routes
from freehold_tenant_manager.overview import routes as overview
from freehold_tenant_manager.provisioning import routes as provisioning
from freehold_tenant_manager.redrive import routes as redrive
from freehold_tenant_manager.restore import routes as restore
from freehold_tenant_manager.startup import Startup
from freehold_tenant_manager.tenants import routes as tenants
from freehold_tenant_manager.usage import routes as usage
from freehold_tenant_manager.verification import routes as verification

REQUEST_MODELS = (
    Nothing,
    NewTenant,
    TenantLimits,
    NewApiKey,
    NewApiKeyInPlace,
    NewKeyLabel,
    NewSignInLink,
    NewPasswords,
    NewRestore,
    NewMigration,
    NewRedrive,
    NewOperator,
    NewOperatorToken,
)
_PARTS = (
    provisioning,
    tenants,
    overview,
    usage,
    deletion,
    keys,
    credentials,
    operations,
    exports,
    backups,
    restore,
    verification,
    migrations,
    redrive,
    operators,
    operator_acts,
)


async def _set_up(startup: Annotated[Startup, component(Startup)]) -> None:
    startup.require_done()


router = APIRouter(prefix="/v1", dependencies=[Depends(_set_up)])
for part in _PARTS:
    require_operator_routes(part.router)
    router.include_router(part.router)

own_router = APIRouter(prefix="/v1", dependencies=[Depends(_set_up)])
own_router.include_router(exports.own_router)
