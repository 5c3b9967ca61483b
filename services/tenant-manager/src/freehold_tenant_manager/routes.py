"""The operator's routes under /v1. Every one of them asks for the operator's token first."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from freehold.contracts.problems import NOT_FOUND, Problem, unavailable
from freehold.contracts.tenants import (
    TENANT_ID_PATTERN,
    ApiKeyPage,
    CreatedApiKey,
    NewApiKey,
    NewTenant,
    ProvisionedTenant,
    Region,
    RegionList,
    TenantDetails,
    TenantPage,
)
from freehold.ledger.client import Connection
from freehold.service.application import json_response
from freehold.service.authentication import authenticate_operator
from freehold.service.bodies import field_errors, json_body, parse
from freehold_tenant_manager.catalog.api_keys import add_api_key, list_api_keys, revoke_api_key
from freehold_tenant_manager.catalog.tenants import find_tenant, list_regions, list_tenants
from freehold_tenant_manager.manager import Manager
from freehold_tenant_manager.pages import Page, cursor_after, page

REQUEST_MODELS = (NewTenant, NewApiKey)
_TENANT_ID = re.compile(TENANT_ID_PATTERN)
_KEY_ID = re.compile(r"^[0-9a-f]{16}$")


async def _manager(request: Request) -> Manager:
    manager: Manager = request.app.state.manager
    authenticate_operator(
        request.headers.get("authorization"), manager.settings.operator_token.get_secret_value()
    )
    return manager


async def _tenant_id(tenant_id: str) -> str:
    # What cannot be an id is not looked up: it may hold what Postgres takes for no text at all.
    if not _TENANT_ID.fullmatch(tenant_id):
        raise _no_tenant()
    return tenant_id


async def _key_id(key_id: str) -> str:
    if not _KEY_ID.fullmatch(key_id):
        raise _no_key()
    return key_id


TheManager = Annotated[Manager, Depends(_manager)]
TenantId = Annotated[str, Depends(_tenant_id)]
KeyId = Annotated[str, Depends(_key_id)]
ThePage = Annotated[Page, Depends(page)]

# The token is asked for before anything else of the request is looked at.
router = APIRouter(prefix="/v1", dependencies=[Depends(_manager)])


@router.post(
    "/tenants",
    tags=["tenants"],
    summary="Make a tenant; the same request again changes nothing.",
    status_code=201,
    responses={
        200: {"model": ProvisionedTenant, "description": "The tenant existed already; no key."},
        201: {"model": ProvisionedTenant, "description": "Made, with their first API key."},
    },
    openapi_extra=dict(json_body(NewTenant)),
)
async def create_tenant(request: Request, manager: TheManager) -> Response:
    """Make a tenant."""
    wanted = parse(NewTenant, await request.body())
    if wanted.region != manager.settings.region:
        raise field_errors(
            [("/region", f"there is no such region; known: {manager.settings.region}")]
        )
    created = await manager.provisioner.create(wanted)
    return _answer(created, 200 if created.api_key is None else 201)


@router.get(
    "/tenants",
    tags=["tenants"],
    summary="List tenants in order of their ids.",
    responses={200: {"model": TenantPage}},
)
async def get_tenants(manager: TheManager, page: ThePage) -> Response:
    """List tenants."""
    async with manager.catalog.connection() as connection:
        rows = await list_tenants(connection, after=page.after, rows_max=page.rows_max)
    shown, last = page.cut(rows)
    return _answer(
        TenantPage(
            data=[row.shown() for row in shown],
            next_cursor=cursor_after(last.tenant_id) if last else None,
        )
    )


@router.get(
    "/tenants/{tenant_id}",
    tags=["tenants"],
    summary="Show a tenant: home, status, size, head, lag.",
    responses={200: {"model": TenantDetails}},
)
async def get_tenant(manager: TheManager, tenant_id: TenantId) -> Response:
    """Show a tenant."""
    details = await manager.overview.details(tenant_id)
    if details is None:
        raise _no_tenant()
    return _answer(details)


@router.post(
    "/tenants/{tenant_id}/api-keys",
    tags=["API keys"],
    summary="Make an API key; it is shown this once.",
    status_code=201,
    responses={201: {"model": CreatedApiKey}},
    openapi_extra=dict(json_body(NewApiKey)),
)
async def create_api_key(request: Request, manager: TheManager, tenant_id: TenantId) -> Response:
    """Make an API key."""
    wanted = parse(NewApiKey, await request.body())
    async with manager.catalog.connection() as connection:
        await _require_active(connection, tenant_id)
        created = await add_api_key(connection, tenant_id, wanted.scopes, wanted.expires_at)
    return _answer(created, 201)


@router.get(
    "/tenants/{tenant_id}/api-keys",
    tags=["API keys"],
    summary="List a tenant's API keys, without their secrets.",
    responses={200: {"model": ApiKeyPage}},
)
async def get_api_keys(manager: TheManager, tenant_id: TenantId, page: ThePage) -> Response:
    """List a tenant's API keys."""
    async with manager.catalog.connection() as connection:
        if await find_tenant(connection, tenant_id) is None:
            raise _no_tenant()
        keys = await list_api_keys(connection, tenant_id, after=page.after, rows_max=page.rows_max)
    shown, last = page.cut(keys)
    return _answer(ApiKeyPage(data=shown, next_cursor=cursor_after(last.key_id) if last else None))


@router.delete(
    "/tenants/{tenant_id}/api-keys/{key_id}",
    tags=["API keys"],
    summary="Revoke an API key; doing so again changes nothing.",
    status_code=204,
)
async def delete_api_key(manager: TheManager, tenant_id: TenantId, key_id: KeyId) -> Response:
    """Revoke an API key."""
    async with manager.catalog.connection() as connection:
        if not await revoke_api_key(connection, tenant_id, key_id):
            raise _no_key()
    return Response(status_code=204)


@router.get(
    "/regions",
    tags=["regions"],
    summary="List the regions that tenants can live in.",
    responses={200: {"model": RegionList}},
)
async def get_regions(manager: TheManager) -> Response:
    """List the regions."""
    async with manager.catalog.connection() as connection:
        rows = await list_regions(connection)
    return _answer(RegionList(data=[Region(**row) for row in rows]))


async def _require_active(connection: Connection, tenant_id: str) -> None:
    tenant = await find_tenant(connection, tenant_id)
    if tenant is None:
        raise _no_tenant()
    if tenant.status != "active":
        raise unavailable("the tenant is still being made")


def _no_tenant() -> Problem:
    return Problem(NOT_FOUND, "there is no such tenant")


def _no_key() -> Problem:
    return Problem(NOT_FOUND, "the tenant has no such key")


def _answer(document: BaseModel, status: int = 200) -> Response:
    # What was left unset, such as the key of a tenant who existed, is left out.
    unset = isinstance(document, ProvisionedTenant)
    return json_response(document.model_dump_json(exclude_unset=unset).encode(), status)
