"""The operator's routes under /v1. Every one of them asks for the operator's token first."""

import re
from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from freehold.contracts.problems import NOT_FOUND, Problem, unavailable
from freehold.contracts.tenants import (
    KEY_ID_PATTERN,
    TENANT_ID_PATTERN,
    ApiKeyPage,
    CreatedApiKey,
    NewApiKey,
    NewTenant,
    ProvisionedTenant,
    Region,
    RegionList,
    Tenant,
    TenantDetails,
    TenantLimits,
    TenantPage,
)
from freehold.ledger.client import Connection
from freehold.service.application import json_response
from freehold.service.authentication import authenticate_operator, sole_authorization
from freehold.service.bodies import field_errors, json_body, parse
from freehold.service.parameters import NoQuery, PageQuery, documented_query, read_query
from freehold_tenant_manager.catalog.api_keys import add_api_key, list_api_keys, revoke_api_key
from freehold_tenant_manager.catalog.tenants import (
    find_tenant,
    limit_tenant,
    list_regions,
    list_tenants,
)
from freehold_tenant_manager.manager import Manager
from freehold_tenant_manager.pages import read_page
from freehold_tenant_manager.settings import NAME_PATTERN

REQUEST_MODELS = (NewTenant, TenantLimits, NewApiKey)
_TENANT_ID = re.compile(TENANT_ID_PATTERN)
_KEY_ID = re.compile(KEY_ID_PATTERN)
_REGION = re.compile(NAME_PATTERN)
_PAGE_PARAMETERS = {"parameters": documented_query(PageQuery)}
# An answer with a key in it is for whoever asked, and is to be kept by nobody in between.
_SECRET = {"Cache-Control": "no-store"}


async def _manager(request: Request) -> Manager:
    manager: Manager = request.app.state.manager
    authenticate_operator(
        sole_authorization(request), manager.settings.operator_token.get_secret_value()
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


async def _no_query(request: Request) -> None:
    read_query(NoQuery, request)


TheManager = Annotated[Manager, Depends(_manager)]
TenantId = Annotated[str, Depends(_tenant_id)]
KeyId = Annotated[str, Depends(_key_id)]
NO_QUERY = [Depends(_no_query)]

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
    dependencies=NO_QUERY,
)
async def create_tenant(request: Request, manager: TheManager) -> Response:
    """Make a tenant."""
    wanted = parse(NewTenant, await request.body())
    if wanted.region != manager.settings.region:
        raise field_errors(
            [("/region", f"there is no such region; known: {manager.settings.region}")]
        )
    created = await manager.provisioner.create(wanted)
    if created.api_key is None:
        return _answer(created)
    return _answer(created, 201, _SECRET)


@router.get(
    "/tenants",
    tags=["tenants"],
    summary="List tenants in order of their ids.",
    responses={200: {"model": TenantPage}},
    openapi_extra=_PAGE_PARAMETERS,
)
async def get_tenants(request: Request, manager: TheManager) -> Response:
    """List tenants."""
    page = read_page(request, _TENANT_ID, "tenants")
    async with manager.catalog.connection() as connection:
        rows = await list_tenants(connection, after=page.after, rows_max=page.rows_max)
    shown, next_cursor = page.cut(rows, lambda row: row.tenant_id)
    return _answer(TenantPage(data=[row.shown() for row in shown], next_cursor=next_cursor))


@router.get(
    "/tenants/{tenant_id}",
    tags=["tenants"],
    summary="Show a tenant: home, status, size, head, lag.",
    responses={200: {"model": TenantDetails}},
    dependencies=NO_QUERY,
)
async def get_tenant(manager: TheManager, tenant_id: TenantId) -> Response:
    """Show a tenant."""
    details = await manager.overview.details(tenant_id)
    if details is None:
        raise _no_tenant()
    return _answer(details)


@router.put(
    "/tenants/{tenant_id}/limits",
    tags=["tenants"],
    summary="Set what each process of ingest takes of a tenant.",
    responses={200: {"model": Tenant}},
    openapi_extra=dict(json_body(TenantLimits)),
    dependencies=NO_QUERY,
)
async def put_limits(request: Request, manager: TheManager, tenant_id: TenantId) -> Response:
    """Set a tenant's limits. They hold at once, for requests that come in from now on."""
    wanted = parse(TenantLimits, await request.body())
    async with manager.catalog.connection() as connection:
        tenant = await limit_tenant(connection, tenant_id, wanted)
    if tenant is None:
        raise _no_tenant()
    return _answer(tenant.shown())


@router.post(
    "/tenants/{tenant_id}/api-keys",
    tags=["API keys"],
    summary="Make an API key; it is shown this once.",
    status_code=201,
    responses={201: {"model": CreatedApiKey}},
    openapi_extra=dict(json_body(NewApiKey)),
    dependencies=NO_QUERY,
)
async def create_api_key(request: Request, manager: TheManager, tenant_id: TenantId) -> Response:
    """Make an API key."""
    wanted = parse(NewApiKey, await request.body())
    async with manager.catalog.connection() as connection:
        await _require_active(connection, tenant_id)
        created = await add_api_key(connection, tenant_id, wanted.scopes, wanted.expires_at)
    return _answer(created, 201, _SECRET)


@router.get(
    "/tenants/{tenant_id}/api-keys",
    tags=["API keys"],
    summary="List a tenant's API keys, without their secrets.",
    responses={200: {"model": ApiKeyPage}},
    openapi_extra=_PAGE_PARAMETERS,
)
async def get_api_keys(request: Request, manager: TheManager, tenant_id: TenantId) -> Response:
    """List a tenant's API keys."""
    page = read_page(request, _KEY_ID, "API keys", tenant_id)
    async with manager.catalog.connection() as connection:
        if await find_tenant(connection, tenant_id) is None:
            raise _no_tenant()
        keys = await list_api_keys(connection, tenant_id, after=page.after, rows_max=page.rows_max)
    shown, next_cursor = page.cut(keys, lambda key: key.key_id)
    return _answer(ApiKeyPage(data=list(shown), next_cursor=next_cursor))


@router.delete(
    "/tenants/{tenant_id}/api-keys/{key_id}",
    tags=["API keys"],
    summary="Revoke an API key; doing so again changes nothing.",
    status_code=204,
    dependencies=NO_QUERY,
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
    openapi_extra=_PAGE_PARAMETERS,
)
async def get_regions(request: Request, manager: TheManager) -> Response:
    """List the regions."""
    page = read_page(request, _REGION, "regions")
    async with manager.catalog.connection() as connection:
        rows = await list_regions(connection, after=page.after, rows_max=page.rows_max)
    shown, next_cursor = page.cut(rows, lambda row: str(row["region"]))
    return _answer(RegionList(data=[Region(**row) for row in shown], next_cursor=next_cursor))


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


def _answer(
    document: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    # What was left unset, such as the key of a tenant who existed, is left out.
    unset = isinstance(document, ProvisionedTenant)
    body = document.model_dump_json(exclude_unset=unset).encode()
    return json_response(body, status, headers)
