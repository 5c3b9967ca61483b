"""The application that every service starts from: problems, health, metrics, documentation."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.contracts.problems import (
    INTERNAL,
    MALFORMED_JSON,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    PROBLEM_MEDIA_TYPE,
    Problem,
    ProblemDocument,
    internal,
    unavailable,
)
from freehold.service.access import Access
from freehold.service.bodies import field_errors, pointer
from freehold.service.direct import Direct, DirectRoutes
from freehold.service.express import ExpressLane, ExpressService

JSON = "application/json"
_HTTP_PROBLEMS = {
    400: MALFORMED_JSON,
    404: NOT_FOUND,
    405: METHOD_NOT_ALLOWED,
}
_PROBLEM_RESPONSE = {
    "description": "A problem (RFC 9457)",
    "content": {
        PROBLEM_MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}
    },
}
Readiness = Callable[[], Awaitable[Mapping[str, bool]]]


def json_response(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with JSON that is bytes already."""
    return Response(body, status_code=status, headers=dict(headers or {}), media_type=JSON)


class Application(FastAPI):
    """FastAPI behind a front: what stands before every request stands before its layers, too."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.front: ASGIApp = self.behind
        self.access: Access
        self.direct_routes: DirectRoutes = {}
        self.express_lanes: dict[bytes, ExpressLane] = {}
        """By path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self.front(scope, receive, send)

    async def behind(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request by FastAPI itself."""
        await super().__call__(scope, receive, send)

    def include_direct_routes(self, router: APIRouter) -> None:
        """Include routes that are run without FastAPI's layers (see direct.py)."""
        self.include_router(router)
        for route in router.routes:
            if isinstance(route, APIRoute):
                for method in route.methods or ():
                    self.direct_routes[method, route.path] = route

    def include_express_lane(self, method: str, path: str, service: ExpressService) -> None:
        """Have the ordinary requests of a route served without ASGI (see express.py)."""
        lane = ExpressLane(self.access, method, path, service)
        self.express_lanes[path.encode()] = lane


def new_application(
    *,
    title: str,
    description: str,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]],
    readiness: Readiness,
    request_models: Sequence[type[BaseModel]] = (),
    body_bytes_max: int = 65_536,
    timeout_s: float = 10.0,
    requests_in_flight_max: int = 2_000,
    all_bodies_bytes_max: int = 128 * 2**20,
    streaming_paths: frozenset[str] = frozenset(),
) -> Application:
    """Make an application that answers errors as problems and tells its health.

    Args:
        title: The service's name in its documentation.
        description: What it is for.
        lifespan: Opens what the service needs, and closes it after the last request.
        readiness: Says which of its dependencies answer now; all must for /readyz to be 200.
        request_models: Bodies that routes read by themselves, to be documented all the same.
        body_bytes_max: Larger bodies are answered 413.
        timeout_s: Requests without an answer by then are answered 503.
        requests_in_flight_max: More requests at once are answered 503, but for those that ask for
            health and metrics.
        all_bodies_bytes_max: Requests whose bodies would take more than this, all told, are
            answered 503.
        streaming_paths: Paths of routes that take or give bodies of any length for any time, a
            part at a time, and put a deadline on each await themselves. They count among the
            requests in flight; no other limit holds for them.
    """
    app = Application(
        title=title,
        description=description,
        version="1",
        redirect_slashes=False,
        lifespan=lifespan,
        responses={"4XX": _PROBLEM_RESPONSE, "5XX": _PROBLEM_RESPONSE},
    )
    app.front = app.access = Access(
        Direct(app.behind, routes=app.direct_routes),
        body_bytes_max=body_bytes_max,
        timeout_s=timeout_s,
        requests_in_flight_max=requests_in_flight_max,
        all_bodies_bytes_max=all_bodies_bytes_max,
        streaming_paths=streaming_paths,
    )
    _answer_problems(app)
    _tell_health(app, readiness)
    _document(app, request_models)
    return app


def _answer_problems(app: FastAPI) -> None:
    # FastAPI's own last resort would answer in plain text; it raises the error again, for the log.
    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> Response:
        return _problem_response(internal())

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> Response:
        return _problem_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        faults = error.errors()
        if faults[0]["type"] == "json_invalid":
            return _problem_response(Problem(MALFORMED_JSON, "the body is not JSON"))
        return _problem_response(
            field_errors(
                # FastAPI puts the kind of parameter first: body, query, path, header.
                (pointer(fault["loc"][1:]), fault["msg"].removeprefix("Value error, "))
                for fault in faults
            )
        )

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        kind = _HTTP_PROBLEMS.get(error.status_code, INTERNAL)
        detail = f"{request.method} {request.url.path}"
        return _problem_response(Problem(kind, detail, headers=error.headers))


def _problem_response(problem: Problem) -> Response:
    return Response(
        problem.body(),
        status_code=problem.kind.status,
        headers=problem.headers,
        media_type=PROBLEM_MEDIA_TYPE,
    )


def _tell_health(app: FastAPI, readiness: Readiness) -> None:
    # Whoever watches over a service has no credential.
    public: dict[str, Any] = {"tags": ["health"], "openapi_extra": {"security": []}}

    @app.get("/healthz", summary="Alive? Touches nothing.", **public)
    async def healthz() -> Response:
        return json_response(b'{"status":"ok"}')

    @app.get("/readyz", summary="Do the dependencies answer?", **public)
    async def readyz() -> Response:
        checks = await readiness()
        if not all(checks.values()):
            missing = ", ".join(name for name, answers in checks.items() if not answers)
            raise unavailable(f"waiting for: {missing}", retry_after_s=1, checks=dict(checks))
        return json_response(orjson.dumps({"status": "ok", "checks": dict(checks)}))

    @app.get("/metrics", summary="Prometheus metrics.", response_class=PlainTextResponse, **public)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _document(app: FastAPI, request_models: Sequence[type[BaseModel]]) -> None:
    """Add to the OpenAPI document what FastAPI cannot see, and what it leaves out.

    It cannot see credentials and bodies read as bytes, and drops every null out of the examples.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            components = document.setdefault("components", {})
            components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"bearer": []}]
            read_or_raised: list[type[BaseModel]] = [*request_models, ProblemDocument]
            _, schemas = models_json_schema(
                [(model, "validation") for model in read_or_raised],
                ref_template="#/components/schemas/{model}",
            )
            components.setdefault("schemas", {}).update(schemas.get("$defs", {}))
            for model in _models():
                documented = components["schemas"].get(model.__name__, {})
                extra = model.model_config.get("json_schema_extra")
                if "examples" in documented and isinstance(extra, dict):
                    documented["examples"] = extra["examples"]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _models(base: type[BaseModel] = BaseModel) -> Iterator[type[BaseModel]]:
    for model in base.__subclasses__():
        yield model
        yield from _models(model)
