"""Signing in with an API key or a one-time link, and out again."""

from hashlib import sha256

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import Field

from freehold.console.forms import Form, read_form
from freehold.console.pages import Pages
from freehold.console.routes import SIGN_IN_PATH, return_path
from freehold.console.sessions import Sessions
from freehold.console.tries import Tries
from freehold.contracts.errors import DomainError, Unauthorized
from freehold.http.authentication import admit
from freehold.http.parameters import NoQuery, read_query
from freehold.http.problems import problem_document
from freehold.security.api_keys import Scope, parse_api_key
from freehold.tenants.catalog import Catalog
from freehold.tenants.directory import Caller, Directory
from freehold_query.console.balances import PATH as BALANCES_PATH
from freehold_query.console.console import page_router
from freehold_query.console.events import PATH as EVENTS_PATH
from freehold_query.console.visitors import known_by

_SCOPES = (Scope.READ, Scope.AUDIT)
"""One of them is enough: each section says what it needs itself."""
# Of several who use a link at once, one deletes it.
_REDEEM = """
DELETE FROM sign_in_links WHERE link_hash = $1 AND expires_at > now() RETURNING key_id
"""


class _SignInQuery(NoQuery):
    next: str = "/console"
    link: str | None = None


class _SignInForm(Form):
    next: str = "/console"
    api_key: str | None = Field(default=None, repr=False)
    link: str | None = Field(default=None, repr=False)


class Door:
    """Lets visitors in."""

    def __init__(self, directory: Directory, catalog: Catalog) -> None:
        self._directory = directory
        self._catalog = catalog
        self._tries = Tries()

    async def enter(self, form: _SignInForm) -> Caller:
        """Find who signs in.

        Raises:
            TooManyRequests: Too many try.
            Unauthorized: The key or the link is not valid.
            MissingScope, TenantSuspended: They may see no page.
            Unavailable: The catalog is needed to decide, and does not answer.
        """
        self._tries.take()
        caller = await (self._by_link(form.link) if form.link else self._by_key(form.api_key or ""))
        admit(caller, *_SCOPES)
        return caller

    async def _by_key(self, text: str) -> Caller:
        key = parse_api_key(text.strip())
        caller = None if key is None else await self._directory.caller(key)
        if caller is None:
            raise Unauthorized("This is no API key that works. Check that all of it was copied.")
        return caller

    async def _by_link(self, link: str) -> Caller:
        row = await self._catalog.fetchrow(_REDEEM, sha256(link.encode()).digest())
        caller = None if row is None else await self._directory.bearer(row["key_id"])
        if caller is None:
            raise Unauthorized("The link was used already, or has expired. Ask for another one.")
        return caller


def _first_page(caller: Caller, wanted: str) -> str:
    """Give the page to begin with: who may not see balances begins with the events."""
    return EVENTS_PATH if wanted == BALANCES_PATH and not caller.may(Scope.READ) else wanted


def sign_in_pages(pages: Pages, door: Door, sessions: Sessions) -> APIRouter:
    """Make the pages that let visitors in and out."""
    router = page_router()

    @router.get("/sign-in")
    async def sign_in(request: Request) -> Response:
        query = read_query(_SignInQuery, request)
        return pages.answer(
            request, "sign_in.html", next=return_path(query.next), link=query.link, problem=None
        )

    @router.post("/sign-in")
    async def enter(request: Request) -> Response:
        form = await read_form(request, _SignInForm)
        following = return_path(form.next)
        try:
            caller = await door.enter(form)
        except DomainError as error:
            problem = problem_document(error)
            return pages.answer(
                request,
                "sign_in.html",
                status=problem["status"],
                next=following,
                link=None,
                problem=problem,
            )
        response = RedirectResponse(_first_page(caller, following), status_code=303)
        sessions.begin(request, response, known_by(caller))
        return response

    @router.post("/sign-out")
    async def leave(request: Request) -> Response:
        response = RedirectResponse(SIGN_IN_PATH, status_code=303)
        sessions.end(request, response)
        return response

    return router
