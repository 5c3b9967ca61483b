"""The page of a tenant's API keys."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field, model_validator

from freehold.console.forms import Form, read_form
from freehold.http.parameters import read_query
from freehold.security.api_keys import Scope
from freehold_tenant_manager.console.fields import AheadField, Confirmed
from freehold_tenant_manager.console.pages import leave, show_secret
from freehold_tenant_manager.console.route import ConsoleRoute
from freehold_tenant_manager.console.tenant import TenantQuery, home, show_tenant
from freehold_tenant_manager.contracts.tenants import OVERLAP_S_DEFAULT, OVERLAP_S_MAX, KeyLabel
from freehold_tenant_manager.http.dependencies import TenantId, TheCatalog
from freehold_tenant_manager.keys.routes import KeyId
from freehold_tenant_manager.keys.store import (
    add_api_key,
    label_api_key,
    list_api_keys,
    no_key,
    replace_api_key,
    revoke_api_key,
)
from freehold_tenant_manager.tenants.store import find_living_tenant

router = APIRouter(route_class=ConsoleRoute)
_PATH = "/tenants/{tenant_id}/keys"
_KEYS_MAX = 500
_Ticked = Literal["yes"] | None


class KeyForm(Form):
    """A key to make, with a tick for each scope."""

    ingest: _Ticked = None
    read: _Ticked = None
    audit: _Ticked = None
    export: _Ticked = None
    label: KeyLabel | None = None
    expires_at: AheadField | None = None

    @property
    def scopes(self) -> list[Scope]:
        """The scopes that are ticked."""
        return [scope for scope in Scope if getattr(self, scope) == "yes"]

    @model_validator(mode="after")
    def _has_a_scope(self) -> "KeyForm":
        if not self.scopes:
            raise ValueError("tick one scope at least")
        return self


class _LabelForm(Form):
    label: KeyLabel | None = None


class _RotationForm(Form):
    overlap_s: Annotated[int, Field(ge=0, le=OVERLAP_S_MAX)] = OVERLAP_S_DEFAULT


@router.get(_PATH, name="api_keys")
async def keys_page(request: Request, catalog: TheCatalog, tenant_id: TenantId) -> Response:
    """List a tenant's keys, without their secrets."""
    query = read_query(TenantQuery, request)
    async with catalog.connection() as connection:
        keys = await list_api_keys(connection, tenant_id, after=None, rows_max=_KEYS_MAX)
    return await show_tenant(
        request,
        catalog,
        "keys.html",
        tenant_id,
        tab="keys",
        said=query.said,
        keys=keys,
        scopes=list(Scope),
        overlap_s=OVERLAP_S_DEFAULT,
    )


@router.post(_PATH, name="create_api_key")
async def create_key(request: Request, catalog: TheCatalog, tenant_id: TenantId) -> Response:
    """Make a key; it is shown this once."""
    form = await read_form(request, KeyForm)
    async with catalog.connection() as connection:
        await find_living_tenant(connection, tenant_id)
        created = await add_api_key(connection, tenant_id, form.scopes, form.expires_at, form.label)
    return show_secret(request, "new_key.html", created=created, keys_path=home(tenant_id, "keys"))


@router.post(f"{_PATH}/{{key_id}}/rotate", name="rotate_api_key")
async def rotate_key(
    request: Request, catalog: TheCatalog, tenant_id: TenantId, key_id: KeyId
) -> Response:
    """Make a key in place of another, which works for a while longer."""
    form = await read_form(request, _RotationForm)
    async with catalog.connection() as connection:
        await find_living_tenant(connection, tenant_id)
        created = await replace_api_key(
            connection, tenant_id, key_id, overlap_s=form.overlap_s, expires_at=None
        )
    return show_secret(request, "new_key.html", created=created, keys_path=home(tenant_id, "keys"))


@router.post(f"{_PATH}/{{key_id}}/label", name="label_api_key")
async def label_key(
    request: Request, catalog: TheCatalog, tenant_id: TenantId, key_id: KeyId
) -> Response:
    """Set what people know a key by."""
    form = await read_form(request, _LabelForm)
    async with catalog.connection() as connection:
        await label_api_key(connection, tenant_id, key_id, form.label)
    return leave(request, home(tenant_id, "keys", said="labelled"))


@router.post(f"{_PATH}/{{key_id}}/revoke", name="revoke_api_key")
async def revoke_key(
    request: Request, catalog: TheCatalog, tenant_id: TenantId, key_id: KeyId
) -> Response:
    """Revoke a key for good; its id is typed."""
    (await read_form(request, Confirmed)).require(key_id)
    async with catalog.connection() as connection:
        if not await revoke_api_key(connection, tenant_id, key_id):
            raise no_key()
    return leave(request, home(tenant_id, "keys", said="revoked"))
