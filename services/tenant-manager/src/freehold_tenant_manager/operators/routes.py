"""The routes that make, list and end operators."""

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from freehold.contracts.errors import OperatorExists, OperatorRevoked
from freehold.http.bodies import json_body, parse, read_body
from freehold.http.openapi import answering
from freehold.http.parameters import documented_query
from freehold_tenant_manager.contracts.names import OPERATOR_NAME_PATTERN
from freehold_tenant_manager.contracts.operators import (
    CallingOperator,
    CreatedOperator,
    NewOperator,
    NewOperatorToken,
    OperatorPage,
)
from freehold_tenant_manager.http.dependencies import (
    NO_QUERY,
    PAGE_PARAMETERS,
    SECRET,
    Confirmation,
    TheCatalog,
    answer,
    require_confirmation,
)
from freehold_tenant_manager.http.pages import read_page
from freehold_tenant_manager.operators.dependencies import TheOperator
from freehold_tenant_manager.operators.route import OperatorRoute
from freehold_tenant_manager.operators.store import (
    add_operator,
    list_operators,
    no_operator,
    revoke_operator,
    rotate_operator_token,
)

router = APIRouter(route_class=OperatorRoute, tags=["operators"])
_NAME = re.compile(OPERATOR_NAME_PATTERN)


async def _operator_name(operator_name: str) -> str:
    if not _NAME.fullmatch(operator_name):
        raise no_operator()
    return operator_name


KnownName = Annotated[str, Depends(_operator_name)]


@router.post(
    "/operators",
    operation_id="create_operator",
    summary="Make an operator; the token is shown this once.",
    status_code=201,
    responses={201: {"model": CreatedOperator}},
    openapi_extra={**json_body(NewOperator), **answering(OperatorExists)},
    dependencies=NO_QUERY,
)
async def create_operator(request: Request, catalog: TheCatalog) -> Response:
    """Make an operator."""
    wanted = parse(NewOperator, await read_body(request))
    async with catalog.connection() as connection:
        created = await add_operator(connection, wanted.name, wanted.role, wanted.expires_at)
    return answer(created, 201, SECRET)


@router.get(
    "/operators",
    operation_id="list_operators",
    summary="List operators, without their tokens.",
    responses={200: {"model": OperatorPage}},
    openapi_extra=PAGE_PARAMETERS,
)
async def get_operators(request: Request, catalog: TheCatalog) -> Response:
    """List operators."""
    page = read_page(request, _NAME, "operators")
    async with catalog.connection() as connection:
        found = await list_operators(connection, after=page.after, rows_max=page.rows_max)
    shown, next_cursor = page.cut(found, lambda operator: operator.name)
    return answer(OperatorPage(data=list(shown), next_cursor=next_cursor))


@router.get(
    "/me",
    operation_id="get_calling_operator",
    summary="Who does this token stand for?",
    responses={200: {"model": CallingOperator}},
    dependencies=NO_QUERY,
)
async def get_me(operator: TheOperator) -> Response:
    """Show who asks."""
    return answer(
        CallingOperator(name=operator.name, role=operator.role, credential=operator.credential)
    )


@router.post(
    "/operators/{operator_name}/rotate",
    operation_id="rotate_operator_token",
    summary="Make a token in place of an operator's, which ends at once.",
    status_code=201,
    responses={201: {"model": CreatedOperator}},
    openapi_extra={**json_body(NewOperatorToken, required=False), **answering(OperatorRevoked)},
    dependencies=NO_QUERY,
)
async def post_rotation(request: Request, catalog: TheCatalog, name: KnownName) -> Response:
    """Replace an operator's token."""
    wanted = parse(NewOperatorToken, await read_body(request) or b"{}")
    async with catalog.connection() as connection:
        created = await rotate_operator_token(connection, name, wanted.expires_at)
    return answer(created, 201, SECRET)


@router.delete(
    "/operators/{operator_name}",
    operation_id="revoke_operator",
    summary="Revoke an operator for good; doing so again changes nothing.",
    status_code=204,
    openapi_extra={"parameters": documented_query(Confirmation)},
)
async def delete_operator(request: Request, catalog: TheCatalog, name: KnownName) -> Response:
    """Revoke an operator."""
    require_confirmation(request, name)
    async with catalog.connection() as connection:
        await revoke_operator(connection, name)
    return Response(status_code=204)
