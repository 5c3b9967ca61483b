"""What the operators' routes share: parameters and bodies, answers."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Depends, Request, Response
from pydantic import BaseModel, Field

from freehold.contracts.errors import NotFound
from freehold.contracts.fields import TENANT_ID_PATTERN
from freehold.http.application import json_response
from freehold.http.bodies import field_errors, json_body, parse, read_body
from freehold.http.parameters import NoQuery, PageQuery, documented_query, read_query
from freehold.tenants.catalog import Catalog
from freehold_tenant_manager.contracts.empty import Nothing
from freehold_tenant_manager.contracts.tenants import ProvisionedTenant
from freehold_tenant_manager.http.components import component

TENANT_ID = re.compile(TENANT_ID_PATTERN)
PAGE_PARAMETERS: dict[str, Any] = {"parameters": documented_query(PageQuery)}
# For answers that contain a key: no proxy may store them.
SECRET = {"Cache-Control": "no-store"}


class Confirmation(NoQuery):
    """The query of a request that destroys something."""

    confirm: str = Field(description="The name of what is to be destroyed, once more.")


def require_confirmation(request: Request, name: str) -> None:
    """Refuse a request to destroy something that does not repeat its name.

    Raises:
        ValidationFailed: It does not.
    """
    if read_query(Confirmation, request).confirm != name:
        raise field_errors([("/confirm", f"confirm must be {name}: this destroys it for good")])


TheCatalog = Annotated[Catalog, component(Catalog)]


async def _tenant_id(tenant_id: str) -> str:
    # Postgres refuses some texts, such as those with a zero byte, so others are not looked up.
    if not TENANT_ID.fullmatch(tenant_id):
        raise NotFound("there is no such tenant")
    return tenant_id


async def _no_query(request: Request) -> None:
    read_query(NoQuery, request)


async def _no_body(request: Request) -> None:
    parse(Nothing, await read_body(request) or b"{}")


TenantId = Annotated[str, Depends(_tenant_id)]
NO_QUERY = [Depends(_no_query)]
# A body that asks for anything is refused, whatever its media type.
NO_QUERY_NOR_BODY = [*NO_QUERY, Depends(_no_body)]
EMPTY_BODY = json_body(Nothing, required=False)


def answer(
    document: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with a document."""
    # Fields that were not set are left out, such as the key of a tenant that existed before.
    unset = isinstance(document, ProvisionedTenant)
    body = document.model_dump_json(exclude_unset=unset).encode()
    return json_response(body, status, headers)
