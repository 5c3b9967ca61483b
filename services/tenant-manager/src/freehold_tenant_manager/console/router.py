"""The operators' console, under /console. Every page asks who looks at it first."""

from fastapi import APIRouter, Response
from fastapi.responses import RedirectResponse

from freehold_tenant_manager.console import (
    audit_log,
    backups,
    credentials,
    doorbells,
    keys,
    migrations,
    operations,
    operators,
    restores,
    tenant,
    tenants,
)
from freehold_tenant_manager.console.pages import HOME
from freehold_tenant_manager.console.route import ConsoleRoute

_PARTS = (
    tenants,
    tenant,
    keys,
    backups,
    restores,
    credentials,
    operations,
    migrations,
    doorbells,
    operators,
    audit_log,
)

router = APIRouter(prefix="/console", include_in_schema=False, route_class=ConsoleRoute)


@router.get("", name="home")
async def home() -> Response:
    """Lead to the tenants."""
    return RedirectResponse(HOME, status_code=303)


for part in _PARTS:
    router.include_router(part.router)
