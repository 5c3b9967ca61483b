"""The page of operators: who they are, and the tokens that are made for them."""

from fastapi import APIRouter, Request, Response

from freehold.console.forms import Form, read_form
from freehold_tenant_manager.console.fields import AheadField, Confirmed
from freehold_tenant_manager.console.pages import leave, show, show_secret
from freehold_tenant_manager.console.route import ConsoleRoute
from freehold_tenant_manager.contracts.names import OperatorName
from freehold_tenant_manager.contracts.operators import Role
from freehold_tenant_manager.http.dependencies import TheCatalog
from freehold_tenant_manager.operators.routes import KnownName
from freehold_tenant_manager.operators.store import (
    add_operator,
    list_operators,
    revoke_operator,
    rotate_operator_token,
)

router = APIRouter(route_class=ConsoleRoute)
_PATH = "/operators"
_HOME = "/console/operators"
_ROWS_MAX = 1_000


class _NewOperatorForm(Form):
    name: OperatorName
    role: Role
    expires_at: AheadField | None = None


class _RotationForm(Confirmed):
    expires_at: AheadField | None = None


@router.get(_PATH, name="operators")
async def operators_page(request: Request, catalog: TheCatalog) -> Response:
    """List operators, without their tokens."""
    async with catalog.connection() as connection:
        operators = await list_operators(connection, after=None, rows_max=_ROWS_MAX)
    return show(request, "operators.html", operators=operators, roles=list(Role))


@router.post(_PATH, name="create_operator")
async def create_operator(request: Request, catalog: TheCatalog) -> Response:
    """Make an operator; the token is shown this once."""
    form = await read_form(request, _NewOperatorForm)
    async with catalog.connection() as connection:
        created = await add_operator(connection, form.name, form.role, form.expires_at)
    return show_secret(request, "new_token.html", created=created)


@router.post(f"{_PATH}/{{operator_name}}/rotate", name="rotate_operator_token")
async def rotate_token(request: Request, catalog: TheCatalog, name: KnownName) -> Response:
    """Make a token in place of an operator's; the name is typed, since the old one ends."""
    form = await read_form(request, _RotationForm)
    form.require(name)
    async with catalog.connection() as connection:
        created = await rotate_operator_token(connection, name, form.expires_at)
    return show_secret(request, "new_token.html", created=created)


@router.post(f"{_PATH}/{{operator_name}}/revoke", name="revoke_operator")
async def revoke(request: Request, catalog: TheCatalog, name: KnownName) -> Response:
    """Revoke an operator for good; the name is typed."""
    (await read_form(request, Confirmed)).require(name)
    async with catalog.connection() as connection:
        await revoke_operator(connection, name)
    return leave(request, _HOME)
