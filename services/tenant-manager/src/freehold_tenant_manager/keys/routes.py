"""API keys: made, listed, replaced, revoked."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from freehold.contracts.errors import ApiKeyEnded
from freehold.http.bodies import json_body, parse, read_body
from freehold.http.openapi import answering
from freehold_tenant_manager.contracts.names import KEY_ID_PATTERN
from freehold_tenant_manager.contracts.sign_in_links import NewSignInLink, SignInLink
from freehold_tenant_manager.contracts.tenants import (
    ApiKeyEntry,
    ApiKeyPage,
    CreatedApiKey,
    NewApiKey,
    NewApiKeyInPlace,
    NewKeyLabel,
    ReplacingApiKey,
)
from freehold_tenant_manager.http.dependencies import (
    NO_QUERY,
    PAGE_PARAMETERS,
    SECRET,
    TenantId,
    TheCatalog,
    answer,
)
from freehold_tenant_manager.http.pages import read_page
from freehold_tenant_manager.keys.store import (
    add_api_key,
    add_sign_in_link,
    label_api_key,
    list_api_keys,
    no_key,
    replace_api_key,
    revoke_api_key,
)
from freehold_tenant_manager.operators.route import OperatorRoute
from freehold_tenant_manager.tenants.store import find_living_tenant, require_tenant

router = APIRouter(route_class=OperatorRoute)
_KEY_ID = re.compile(KEY_ID_PATTERN)


async def _key_id(key_id: str) -> str:
    if not _KEY_ID.fullmatch(key_id):
        raise no_key()
    return key_id


KeyId = Annotated[str, Depends(_key_id)]


@router.post(
    "/tenants/{tenant_id}/api-keys",
    operation_id="create_api_key",
    tags=["API keys"],
    summary="Make an API key; it is shown this once.",
    status_code=201,
    responses={201: {"model": CreatedApiKey}},
    openapi_extra=dict(json_body(NewApiKey)),
    dependencies=NO_QUERY,
)
async def create_api_key(request: Request, catalog: TheCatalog, tenant_id: TenantId) -> Response:
    """Make an API key."""
    wanted = parse(NewApiKey, await read_body(request))
    async with catalog.connection() as connection:
        await find_living_tenant(connection, tenant_id)
        created = await add_api_key(
            connection, tenant_id, wanted.scopes, wanted.expires_at, wanted.label
        )
    return answer(created, 201, SECRET)


@router.get(
    "/tenants/{tenant_id}/api-keys",
    operation_id="list_api_keys",
    tags=["API keys"],
    summary="List a tenant's API keys, without their secrets.",
    responses={200: {"model": ApiKeyPage}},
    openapi_extra=PAGE_PARAMETERS,
)
async def get_api_keys(request: Request, catalog: TheCatalog, tenant_id: TenantId) -> Response:
    """List a tenant's API keys."""
    page = read_page(request, _KEY_ID, "API keys", tenant_id)
    async with catalog.connection() as connection:
        await require_tenant(connection, tenant_id)
        keys = await list_api_keys(connection, tenant_id, after=page.after, rows_max=page.rows_max)
    shown, next_cursor = page.cut(keys, lambda key: key.key_id)
    return answer(ApiKeyPage(data=list(shown), next_cursor=next_cursor))


@router.delete(
    "/tenants/{tenant_id}/api-keys/{key_id}",
    operation_id="revoke_api_key",
    tags=["API keys"],
    summary="Revoke an API key; doing so again changes nothing.",
    status_code=204,
    dependencies=NO_QUERY,
)
async def delete_api_key(catalog: TheCatalog, tenant_id: TenantId, key_id: KeyId) -> Response:
    """Revoke an API key."""
    async with catalog.connection() as connection:
        if not await revoke_api_key(connection, tenant_id, key_id):
            raise no_key()
    return Response(status_code=204)


@router.put(
    "/tenants/{tenant_id}/api-keys/{key_id}/label",
    operation_id="label_api_key",
    tags=["API keys"],
    summary="Set what people know an API key by.",
    responses={200: {"model": ApiKeyEntry}},
    openapi_extra=dict(json_body(NewKeyLabel)),
    dependencies=NO_QUERY,
)
async def put_label(
    request: Request, catalog: TheCatalog, tenant_id: TenantId, key_id: KeyId
) -> Response:
    """Label an API key."""
    wanted = parse(NewKeyLabel, await read_body(request))
    async with catalog.connection() as connection:
        return answer(await label_api_key(connection, tenant_id, key_id, wanted.label))


@router.post(
    "/tenants/{tenant_id}/api-keys/{key_id}/rotate",
    operation_id="rotate_api_key",
    tags=["API keys"],
    summary="Make an API key in place of another, which works for a while longer.",
    status_code=201,
    responses={201: {"model": ReplacingApiKey}},
    openapi_extra={**json_body(NewApiKeyInPlace, required=False), **answering(ApiKeyEnded)},
    dependencies=NO_QUERY,
)
async def post_rotation(
    request: Request, catalog: TheCatalog, tenant_id: TenantId, key_id: KeyId
) -> Response:
    """Replace an API key."""
    wanted = parse(NewApiKeyInPlace, await read_body(request) or b"{}")
    async with catalog.connection() as connection:
        await find_living_tenant(connection, tenant_id)
        created = await replace_api_key(
            connection, tenant_id, key_id, overlap_s=wanted.overlap_s, expires_at=wanted.expires_at
        )
    return answer(created, 201, SECRET)


@router.post(
    "/tenants/{tenant_id}/api-keys/{key_id}/sign-in-links",
    operation_id="create_sign_in_link",
    tags=["API keys"],
    summary="Make a link that signs a person in to the tenant's console with a key, once.",
    status_code=201,
    responses={201: {"model": SignInLink}},
    openapi_extra={**json_body(NewSignInLink, required=False), **answering(ApiKeyEnded)},
    dependencies=NO_QUERY,
)
async def post_sign_in_link(
    request: Request, catalog: TheCatalog, tenant_id: TenantId, key_id: KeyId
) -> Response:
    """Make a link."""
    wanted = parse(NewSignInLink, await read_body(request) or b"{}")
    async with catalog.connection() as connection:
        await find_living_tenant(connection, tenant_id)
        link = await add_sign_in_link(
            connection, tenant_id, key_id, expires_in_s=wanted.expires_in_s
        )
    return answer(link, 201, SECRET)
