"""What each problem type means, at its own address, for people and for programs."""

import json
from html import escape
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from freehold.contracts.errors import NotFound
from freehold.contracts.problems import DescribedProblem, ProblemTypeList
from freehold.http.bodies import header_values
from freehold.http.catalogue import BY_SLUG, PROBLEM_TYPES, ProblemType
from freehold.http.errors import NotAcceptable
from freehold.http.media_types import JSON, preferred
from freehold.http.openapi import PUBLIC, answering
from freehold.http.pages import PAGE_HEADERS, document_of, prose, table, words
from freehold.http.problems import problem_document

_HTML = "text/html"
# A release may say something better; Accept decides between the two forms.
_HEADERS = {"Cache-Control": "public, max-age=3600", "Vary": "Accept, Origin"}
# Read by the route itself: FastAPI would document an error of its own form for it.
_SLUG = {
    "name": "slug",
    "in": "path",
    "required": True,
    "description": "The last part of a problem's `type`.",
    "schema": {"type": "string"},
}


def problem_type_routes() -> APIRouter:
    """Make the routes of problem types. They need no credential."""
    router = APIRouter(prefix="/problems", tags=["problems"])

    @router.get(
        "",
        operation_id="list_problem_types",
        response_model=ProblemTypeList,
        summary="All types of problems: what they mean, and what to do.",
        **_documented(),
    )
    async def list_problem_types(request: Request) -> Response:
        if _wants_html(request):
            return _page(_list_page())
        return _json({"data": [described(kind) for kind in PROBLEM_TYPES]})

    @router.get(
        "/{slug}",
        operation_id="get_problem_type",
        response_model=DescribedProblem,
        summary="What a type of problem means, and what to do.",
        **_documented(_SLUG),
    )
    async def get_problem_type(request: Request) -> Response:
        kind = BY_SLUG.get(request.path_params["slug"])
        if kind is None:
            raise NotFound("there is no such type of problem: /problems lists them")
        if _wants_html(request):
            return _page(_type_page(kind))
        return _json(described(kind))

    return router


def described(kind: ProblemType) -> dict[str, Any]:
    """Describe a type of problem, for programs."""
    return {
        "type": kind.uri,
        "title": kind.title,
        "status": kind.status,
        "cause": kind.cause,
        "remedy": kind.remedy,
        "retry": kind.retry,
        "again": kind.again,
        "example": problem_document(kind.example),
    }


def _documented(*parameters: dict[str, Any]) -> dict[str, Any]:
    """Describe, for OpenAPI, a route with its parameters."""
    return {
        "responses": {200: {"content": {_HTML: {"schema": {"type": "string"}}}}},
        "openapi_extra": {**PUBLIC, **answering(NotAcceptable), "parameters": list(parameters)},
    }


def _wants_html(request: Request) -> bool:
    return preferred((_HTML, JSON), header_values(request, b"accept")) == _HTML


def _page(text: str) -> Response:
    return Response(text, headers={**PAGE_HEADERS, **_HEADERS}, media_type=_HTML)


def _json(document: Any) -> Response:
    return Response(orjson.dumps(document), headers=_HEADERS, media_type=JSON)


def _list_page() -> str:
    rows = [
        [
            str(kind.status),
            f'<a href="problems/{kind.slug}"><code>{kind.slug}</code></a>',
            words(kind.title),
            kind.retry,
        ]
        for kind in PROBLEM_TYPES
    ]
    return document_of(
        "Problems",
        prose("What requests are answered that were refused or failed (RFC 9457)."),
        table(("status", "type", "", "send again"), rows),
    )


def _type_page(kind: ProblemType) -> str:
    example = json.dumps(problem_document(kind.example), indent=2, ensure_ascii=False)
    return document_of(
        kind.title,
        prose(f"`{kind.uri}`, status {kind.status}"),
        f"<h2>Cause</h2>{prose(kind.cause)}",
        f"<h2>What to do</h2>{prose(kind.remedy)}",
        f"<h2>May the same request be sent again?</h2>{prose(kind.again)}",
        f"<h2>An example</h2><pre>{escape(example)}</pre>",
        '<p><a href="../problems">All problems</a></p>',
    )
