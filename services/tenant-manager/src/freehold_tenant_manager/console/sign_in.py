"""Signing in with an operator's token, and out again."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import Field

from freehold.console.forms import Form, read_form
from freehold.console.routes import SIGN_IN_PATH, PageRoute, return_path
from freehold.console.sessions import Sessions
from freehold.console.tries import Tries
from freehold.contracts.errors import DomainError
from freehold.http.parameters import NoQuery, read_query
from freehold.http.problems import problem_document
from freehold_tenant_manager.console.pages import PAGES
from freehold_tenant_manager.console.visitors import SignIn
from freehold_tenant_manager.http.components import component
from freehold_tenant_manager.operators.acts import Acts
from freehold_tenant_manager.operators.operators import Operators
from freehold_tenant_manager.operators.route import address_of

router = APIRouter(prefix="/console", route_class=PageRoute, include_in_schema=False)
_TheSessions = Annotated[Sessions, component(Sessions)]
_TheSignIn = Annotated[SignIn, component(SignIn)]


class _SignInQuery(NoQuery):
    next: str = "/console"


class _SignInForm(Form):
    next: str = "/console"
    token: str = Field(default="", repr=False)


@router.get("/sign-in", name="sign_in_page")
async def sign_in_page(request: Request, ways: _TheSignIn) -> Response:
    """Ask for a token, or lead to the identity provider."""
    query = read_query(_SignInQuery, request)
    return PAGES.answer(
        request,
        "sign_in.html",
        next=return_path(query.next),
        problem=None,
        has_provider=ways.provider is not None,
    )


@router.post("/sign-in", name="sign_in")
async def sign_in(
    request: Request,
    operators: Annotated[Operators, component(Operators)],
    acts: Annotated[Acts, component(Acts)],
    tries: Annotated[Tries, component(Tries)],
    sessions: _TheSessions,
    ways: _TheSignIn,
) -> Response:
    """Let an operator in. That they came in is recorded."""
    form = await read_form(request, _SignInForm)
    following = return_path(form.next)
    try:
        tries.take()
        operator, who = await operators.begin_session(form.token.strip(), address_of(request))
        async with acts.recorded(operator, "sign_in") as act:
            act.outcome["status"] = 303
    except DomainError as error:
        problem = problem_document(error)
        return PAGES.answer(
            request,
            "sign_in.html",
            status=problem["status"],
            next=following,
            problem=problem,
            has_provider=ways.provider is not None,
        )
    response = RedirectResponse(following, status_code=303)
    sessions.begin(request, response, who)
    return response


@router.post("/sign-out", name="sign_out")
async def sign_out(request: Request, sessions: _TheSessions) -> Response:
    """End the session."""
    response = RedirectResponse(SIGN_IN_PATH, status_code=303)
    sessions.end(request, response)
    return response
