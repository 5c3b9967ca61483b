"""Signing in at the identity provider: there, and back."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import Field

from freehold.console.routes import SIGN_IN_PATH, PageRoute, return_path
from freehold.console.sessions import Sessions
from freehold.contracts.errors import NotFound, Unauthorized
from freehold.http.parameters import NoQuery, read_query
from freehold_tenant_manager.console.pages import PAGES
from freehold_tenant_manager.console.visitors import SignIn
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.operators.acts import Acts
from freehold_tenant_manager.operators.oidc import Flow, IdentityProvider
from freehold_tenant_manager.operators.route import address_of

router = APIRouter(prefix="/console/sign-in/oidc", route_class=PageRoute, include_in_schema=False)
_CALLBACK = f"{SIGN_IN_PATH}/oidc/callback"
_TheSignIn = Annotated[SignIn, component(SignIn)]


class _LeavingQuery(NoQuery):
    next: str = "/console"


class _CallbackQuery(NoQuery, extra="ignore"):
    """What the provider adds besides, such as `iss` and `session_state`, is not needed."""

    state: str = ""
    code: str = Field(default="", repr=False)
    error: str = ""


@router.get("", name="leave_for_provider")
async def leave_for_provider(request: Request, sign_in: _TheSignIn) -> Response:
    """Send a person to the provider."""
    provider = _provider(sign_in)
    query = read_query(_LeavingQuery, request)
    flow = Flow.new()
    address = await provider.address(flow, sign_in.console_url + _CALLBACK)
    response = RedirectResponse(address, status_code=303)
    kept = {"state": flow.state, "nonce": flow.nonce, "verifier": flow.verifier}
    sign_in.flows.begin(request, response, {**kept, "next": return_path(query.next)})
    return response


@router.get("/callback", name="return_from_provider")
async def return_from_provider(
    request: Request,
    sign_in: _TheSignIn,
    acts: Annotated[Acts, component(Acts)],
    sessions: Annotated[Sessions, component(Sessions)],
) -> Response:
    """Let the person in who comes back. That they came in is recorded."""
    provider = _provider(sign_in)
    query = read_query(_CallbackQuery, request)
    kept = sign_in.flows.read(request)
    if kept is None or not query.code or kept.who["state"] != query.state:
        reason = f" ({query.error})" if query.error.isidentifier() else ""
        return _refused(request, sign_in, f"the sign-in at the provider was not finished{reason}")
    flow = Flow(kept.who["state"], kept.who["nonce"], kept.who["verifier"])
    callback = sign_in.console_url + _CALLBACK
    operator = await provider.operator(flow, query.code, callback, address_of(request))
    async with acts.recorded(operator, "sign_in", details={"subject": operator.subject}):
        # A redirect would still count as the provider's, and the session's cookie is not sent on
        # requests that another site begins. This page goes on by itself.
        response = PAGES.answer(request, "signed_in.html", next=kept.who["next"])
        sign_in.flows.end(request, response)
        who = {"oidc": operator.name, "role": operator.role.value, "provider": provider.mark()}
        sessions.begin(request, response, who)
    return response


def _provider(sign_in: SignIn) -> IdentityProvider:
    if sign_in.provider is None:
        raise NotFound("no identity provider is set up")
    return sign_in.provider


def _refused(request: Request, sign_in: SignIn, fault: str) -> Response:
    response = PAGES.error(request, Unauthorized(f"{fault}; sign in again"))
    sign_in.flows.end(request, response)
    return response
