"""Reads by pages of other origins: CORS, as the Fetch standard has it (fetch.spec.whatwg.org).

No credentials are allowed: a page sends its token in a header, and services know no cookies.
"""

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.http.headers import STANDARD

_EXPOSED = (
    "Content-Disposition",
    "ETag",
    "Preference-Applied",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
)
_TAKEN = ("Authorization", "If-None-Match", "Last-Event-ID", "Prefer", "X-Request-Id")
_REMEMBERED_S = 3600


class CrossOrigin(CORSMiddleware):
    """Stands before an application, and lets pages of some origins read its answers.

    Args:
        app: The application.
        origins: As browsers write them; `*` is any.
    """

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=("GET", "HEAD"),
            allow_headers=_TAKEN,
            expose_headers=_EXPOSED,
            max_age=_REMEMBERED_S,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; one without an origin as if no origin were allowed.

        What a cache may keep names Origin in its Vary itself: a connection that serves a direct
        route answers such a request alone, and both must answer alike.
        """
        if scope["type"] == "http" and "origin" not in Headers(scope=scope):
            await self.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer what a browser asks before a request.

        The browser itself refuses what the answer does not name, so a refusal needs no status.
        """
        answer = super().preflight_response(request_headers)
        own = {name: value for name, value in answer.headers.items() if "content" not in name}
        standard = {name.decode(): value.decode() for name, value in STANDARD}
        return Response(status_code=204, headers=standard | own)
