"""Routes of pages: only pages of the same origin may act, and errors are answered as pages."""

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from fastapi.routing import APIRoute

from freehold.console.pages import ErrorPage, is_fragment
from freehold.contracts.errors import DomainError, Unauthorized
from freehold.http.errors import CrossOriginRequest

SIGN_IN_PATH = "/console/sign-in"
_SAFE_METHODS = frozenset({"GET", "HEAD"})


class PageRoute(APIRoute):
    """A route whose errors are pages: `app.state.error_page` renders them.

    Who is not signed in is sent to the sign-in page, which leads back.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route's own handler."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                require_same_origin(request)
                response: Response = await handler(request)
            except Unauthorized:
                response = _to_sign_in(request)
            except DomainError as error:
                error_page: ErrorPage = request.app.state.error_page
                response = error_page(request, error)
            if renew := getattr(request.state, "renew_session", None):
                renew(response)
            return response

        return handle


def require_same_origin(request: Request) -> None:
    """Refuse acts that a page of another origin asks for, on top of the cookie's SameSite.

    Browsers say which page asks: by Sec-Fetch-Site (W3C Fetch Metadata), or by Origin alone where
    the site is not trusted by its scheme.

    Raises:
        CrossOriginRequest: It is another origin's, or the request does not say.
    """
    if request.method in _SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site")
    origin = urlsplit(request.headers.get("origin", "")).netloc
    if site == "same-origin" or (site is None and origin == request.headers.get("host")):
        return
    raise CrossOriginRequest("this can only be asked for by a page of this console")


def return_path(text: str) -> str:
    """Give the console's page that a sign-in is to lead to; its first page if it is none."""
    parts = urlsplit(text)
    is_ours = not parts.scheme and not parts.netloc and parts.path.startswith("/console")
    return text if is_ours and "\\" not in text else "/console"


def _to_sign_in(request: Request) -> Response:
    if is_fragment(request):
        # The whole page is to follow, and not a part of it. htmx says which page asks.
        page = urlsplit(request.headers.get("hx-current-url", ""))
        return Response(headers={"HX-Redirect": _leading_to(page.path, page.query)})
    if request.method not in _SAFE_METHODS:
        return RedirectResponse(SIGN_IN_PATH, status_code=303)
    return RedirectResponse(_leading_to(request.url.path, request.url.query), status_code=303)


def _leading_to(path: str, query: str) -> str:
    """Give the address of the sign-in page that leads to a page, or to the console's first one."""
    target = f"{path}?{query}".rstrip("?")
    wanted = "" if target in {"", "/console"} else f"?next={quote(target, safe='/')}"
    return f"{SIGN_IN_PATH}{wanted}"
