"""What the operator's routes have in common: whose they are, what they take, how they answer."""

import re
from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response
from pydantic import BaseModel

from freehold.contracts.problems import NOT_FOUND, Problem, unavailable
from freehold.contracts.tenants import TENANT_ID_PATTERN, ProvisionedTenant
from freehold.ledger.client import Connection
from freehold.service.application import json_response
from freehold.service.authentication import authenticate_operator, sole_authorization
from freehold.service.parameters import NoQuery, PageQuery, documented_query, path_id, read_query
from freehold_tenant_manager.catalog.tenants import TenantRow, find_tenant
from freehold_tenant_manager.manager import Manager

TENANT_ID = re.compile(TENANT_ID_PATTERN)
PAGE_PARAMETERS: dict[str, Any] = {"parameters": documented_query(PageQuery)}
# An answer with a key in it is for whoever asked, and is to be kept by nobody in between.
SECRET = {"Cache-Control": "no-store"}


async def operator(request: Request) -> Manager:
    """Let only the operator pass, and give what routes work with.

    Raises:
        Problem: unauthorized.
    """
    manager: Manager = request.app.state.manager
    authenticate_operator(
        sole_authorization(request), manager.settings.operator_token.get_secret_value()
    )
    return manager


async def _tenant_id(tenant_id: str) -> str:
    # What cannot be an id is not looked up: it may hold what Postgres takes for no text at all.
    if not TENANT_ID.fullmatch(tenant_id):
        raise no_tenant()
    return tenant_id


async def _operation_id(operation_id: str) -> UUID:
    return path_id(operation_id, "operation")


async def _no_query(request: Request) -> None:
    read_query(NoQuery, request)


TheManager = Annotated[Manager, Depends(operator)]
TenantId = Annotated[str, Depends(_tenant_id)]
OperationId = Annotated[UUID, Depends(_operation_id)]
NO_QUERY = [Depends(_no_query)]


def no_tenant() -> Problem:
    """Make the problem of a tenant whom nobody knows."""
    return Problem(NOT_FOUND, "there is no such tenant")


async def require_active(connection: Connection, tenant_id: str) -> TenantRow:
    """Give a tenant who exists and is not still being made.

    Raises:
        Problem: not-found, unavailable.
    """
    tenant = await find_tenant(connection, tenant_id)
    if tenant is None:
        raise no_tenant()
    if tenant.status != "active":
        raise unavailable("the tenant is still being made")
    return tenant


def answer(
    document: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with a document."""
    # What was left unset, such as the key of a tenant who existed, is left out.
    unset = isinstance(document, ProvisionedTenant)
    body = document.model_dump_json(exclude_unset=unset).encode()
    return json_response(body, status, headers)
