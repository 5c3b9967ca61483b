"""The application that every service starts from: errors, health, metrics, documentation."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, PlainTextResponse
from fastapi.routing import APIRoute
from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.contracts.errors import DomainError, Internal, NotFound, Unavailable, ValidationFailed
from freehold.contracts.excerpts import excerpt
from freehold.contracts.problems import PROBLEM_MEDIA_TYPE
from freehold.http.access import Access
from freehold.http.cross_origin import CrossOrigin
from freehold.http.direct import DirectRoutes, Reply
from freehold.http.documentation import page
from freehold.http.errors import MalformedJson, MethodNotAllowed
from freehold.http.media_types import JSON
from freehold.http.openapi import API_KEY, PUBLIC, answering, complete_openapi
from freehold.http.pages import PAGE_HEADERS
from freehold.http.problem_types import problem_type_routes
from freehold.http.problems import Problem, unforeseen
from freehold.observability.metrics import BUILD, CHECK_OK
from freehold.observability.traces import end_traces
from freehold.release import this_release
from freehold.tenants.traffic import Traffic

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_ERRORS: Mapping[int, type[DomainError]] = {400: MalformedJson, 404: NotFound}


@dataclass(frozen=True, slots=True)
class Check:
    """The state of one of a service's dependencies."""

    answers: bool
    is_needed: bool = True
    """Whether the service is not ready without it. If not, /readyz only reports it."""
    reason: str | None = None
    """Why it cannot be used, in words that may be public."""


Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
Readiness = Callable[[], Awaitable[Mapping[str, Check]]]


def json_response(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with JSON that is serialized already."""
    return Response(body, status_code=status, headers=dict(headers or {}), media_type=JSON)


def response_of(reply: Reply) -> Response:
    """Make the response that a reply is to a route that is not a direct one."""
    media_type = None if reply.status == HTTPStatus.NOT_MODIFIED else JSON
    return Response(reply.body, reply.status, dict(reply.headers), media_type)


class Application(FastAPI):
    """FastAPI behind `Access`, which sees every request before FastAPI's own layers."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.front: ASGIApp = self.behind
        self.access: Access
        self.direct_routes = DirectRoutes()
        self.on_stop: list[Callable[[], None]] = []
        """Called once when the service is to stop, to end answers that would go on."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self.front(scope, receive, send)

    async def behind(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request by FastAPI itself; one for a direct route by its endpoint.

        The connections of other servers, and HEAD, bring the latter here.
        """
        if scope["type"] == "http" and (
            found := self.direct_routes.find(scope["method"], scope["path"])
        ):
            scope["route"], scope["path_params"] = found
            reply = await scope["route"].endpoint(Request(scope, receive))
            await response_of(reply)(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    def stop(self) -> None:
        """End answers that would go on. Each connection says so when the service is to stop."""
        while self.on_stop:
            self.on_stop.pop()()

    def direct_route(self, scope: Scope) -> tuple[APIRoute, dict[str, str]] | None:
        """Find the direct route that a request's connection may serve, as `DirectRoutes.find`.

        A page of another origin needs more headers than the connection writes.
        """
        if self.front is not self.access and any(name == b"origin" for name, _ in scope["headers"]):
            return None
        return self.direct_routes.find(scope["method"], scope["path"])

    def include_direct_routes(self, router: APIRouter) -> None:
        """Include routes that are run without FastAPI's layers (see direct.py)."""
        self.include_router(router)
        self.direct_routes.add(router)


def new_application(
    *,
    title: str,
    description: str,
    lifespan: Lifespan,
    readiness: Readiness,
    credential: str = API_KEY,
    request_models: Sequence[type[BaseModel]] = (),
    caller_problems: Sequence[type[DomainError]] = (),
    body_bytes_max: int = 65_536,
    timeout_s: float = 10.0,
    requests_in_flight_max: int = 2_000,
    all_bodies_bytes_max: int = 128 * 2**20,
    streaming_paths: frozenset[str] = frozenset(),
    lasting_paths: frozenset[str] = frozenset(),
    origins: Sequence[str] = (),
    traffic: Traffic | None = None,
) -> Application:
    """Make an application that answers errors as problems and reports its health.

    Args:
        title: The service's name in its documentation.
        description: Its purpose.
        lifespan: Opens what the service needs, and closes it after the last request.
        readiness: Reports the state of its dependencies. /readyz answers 200 only if all that are
            needed answer.
        credential: What routes ask for, in the documentation (see openapi.py).
        request_models: Bodies that routes parse themselves, for the documentation.
        caller_problems: Errors that every route with that credential may answer.
        body_bytes_max: Larger bodies are answered 413.
        timeout_s: A request is answered 408 if its body has not arrived by then, and 503 if there
            is no answer within the same time after that.
        requests_in_flight_max: More requests at once are answered 503, except for health and
            metrics.
        all_bodies_bytes_max: Requests are answered 503 if all bodies together would be larger.
        streaming_paths: Paths of routes that stream bodies of any length and set a deadline for
            each part themselves. They count as requests in flight; no other limit applies.
        lasting_paths: Paths of routes whose answers go on until the client leaves. They have limits
            of their own, end by `Application.on_stop`, and do not count as requests in flight.
        origins: Origins whose pages may read the answers; `*` is any.
        traffic: Counts the requests of each tenant.
    """
    app = Application(
        title=title,
        description=description,
        version=this_release().version,
        redirect_slashes=False,
        # FastAPI's own pages load scripts from a public server.
        docs_url=None,
        redoc_url=None,
        # No request or failure is reported to anyone else.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        lifespan=_traced(lifespan),
    )
    app.front = app.access = Access(
        app.behind,
        body_bytes_max=body_bytes_max,
        timeout_s=timeout_s,
        requests_in_flight_max=requests_in_flight_max,
        all_bodies_bytes_max=all_bodies_bytes_max,
        streaming_paths=streaming_paths,
        lasting_paths=lasting_paths,
        traffic=traffic,
    )
    if origins:
        app.front = CrossOrigin(app.access, origins)
    _answer_errors(app)
    _report_health(app, readiness)
    app.include_router(problem_type_routes())
    complete_openapi(app, credential, request_models, caller_problems)
    _document(app)
    return app


def _traced(lifespan: Lifespan) -> Lifespan:
    """Hand over the last spans when all else has ended: the process then ends by a signal."""

    @asynccontextmanager
    async def traced(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with lifespan(app):
                yield
        finally:
            await end_traces()

    return traced


def _answer_errors(app: FastAPI) -> None:
    # FastAPI's own last resort answers in plain text. It raises the error again, for the log.
    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> Response:
        return _answer(unforeseen())

    @app.exception_handler(DomainError)
    async def known(_: Request, error: DomainError) -> Response:
        return _answer(error)

    # Does not happen, since routes read parameters and bodies themselves. If it did, FastAPI's own
    # form of a 422 would get out.
    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, __: RequestValidationError) -> Response:
        return _answer(ValidationFailed("a part of the path or a parameter breaks its rule"))

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        path = excerpt(request.scope["path"])
        if error.status_code != 405:
            kind = _ERRORS.get(error.status_code, Internal)
            return _answer(kind(f"there is nothing at {path}; /docs lists what there is"))
        allowed = {"Allow": ", ".join(_methods(app, request.scope))}
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=allowed)
        return _answer(
            MethodNotAllowed(f"{path} can be asked for: {allowed['Allow']}", headers=allowed)
        )


def _methods(app: FastAPI, scope: Scope) -> Iterator[str]:
    """Give the methods that any route serves at a path."""
    for method in _METHODS:
        asked = {**scope, "method": method}
        if any(route.matches(asked)[0] is Match.FULL for route in app.router.routes):
            yield method
            if method == "GET":
                yield "HEAD"
    yield "OPTIONS"


def _answer(error: DomainError) -> Response:
    status, headers, body = Problem.of(error)
    return Response(body, status, headers, PROBLEM_MEDIA_TYPE)


def _report_health(app: FastAPI, readiness: Readiness) -> None:
    # Monitoring has no credential.
    public: dict[str, Any] = {"tags": ["health"], "openapi_extra": dict(PUBLIC)}

    release = this_release()
    BUILD.info({"version": release.version, "commit": release.commit or "unknown"})
    alive = orjson.dumps({"status": "ok", **asdict(release)})

    @app.get(
        "/healthz",
        operation_id="get_health",
        summary="Alive, and which release? Touches nothing.",
        **public,
    )
    async def healthz() -> Response:
        return json_response(alive)

    ready: dict[str, Any] = {**public, "openapi_extra": {**PUBLIC, **answering(Unavailable)}}

    @app.get(
        "/readyz", operation_id="get_readiness", summary="Do the dependencies answer?", **ready
    )
    async def readyz() -> Response:
        checks = await readiness()
        answering = {name: check.answers for name, check in checks.items()}
        report: dict[str, Any] = {"checks": answering}
        reasons = {n: c.reason for n, c in checks.items() if c.reason and not c.answers}
        if reasons:
            report["reasons"] = reasons
        missing = [n for n, check in checks.items() if check.is_needed and not check.answers]
        if missing:
            named = ", ".join(f"{n} ({reasons[n]})" if n in reasons else n for n in missing)
            raise Unavailable(f"waiting for: {named}", retry_after_s=1, **report)
        return json_response(orjson.dumps({"status": "ok", **report}))

    @app.get(
        "/metrics",
        operation_id="get_metrics",
        summary="Prometheus metrics; with exemplars as OpenMetrics, where that is accepted.",
        response_class=PlainTextResponse,
        **public,
    )
    async def metrics(request: Request) -> Response:
        for name, check in (await readiness()).items():
            CHECK_OK.labels(name, "yes" if check.is_needed else "no").set(check.answers)
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(REGISTRY), media_type=media_type)


def _document(app: FastAPI) -> None:
    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(page(app.openapi()), headers=PAGE_HEADERS)
