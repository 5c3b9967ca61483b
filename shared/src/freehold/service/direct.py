"""Direct routes: documented by FastAPI like any other, and run without its layers.

Of what FastAPI does for a request these routes need nothing, since they read their bytes and write
their answers themselves; left out, it saves more time than all the rest of a small request takes.
"""

from collections.abc import Awaitable, Callable
from typing import cast

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

DirectRoutes = dict[tuple[str, str], APIRoute]
"""Routes by method and path."""


class Direct:
    """Sends requests for direct routes on to them, and all others to the application.

    Their paths have no parameters, and their endpoints take the request alone. Problems that they
    raise are answered by Access; no other exception handler sees them.
    """

    def __init__(self, app: ASGIApp, *, routes: DirectRoutes) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        route = self._routes.get((scope.get("method", ""), scope.get("path", "")))
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        endpoint = cast("Callable[[Request], Awaitable[Response]]", route.endpoint)
        response = await endpoint(Request(scope, receive))
        await response(scope, receive, send)
