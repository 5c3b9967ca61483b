"""The OpenAPI document: what FastAPI cannot see of routes that parse and write bodies themselves.

Which errors a route can answer follows from its credential, its path, its body and its
Idempotency-Key. A route names only the others, with `answering`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from freehold.contracts.errors import (
    DomainError,
    IdempotencyKeyInvalid,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    Internal,
    LedgerVersionUnsupported,
    MissingScope,
    NotFound,
    Overloaded,
    TenantDeleted,
    TenantSuspended,
    Unauthorized,
    Unavailable,
    ValidationFailed,
)
from freehold.contracts.problems import PROBLEM_MEDIA_TYPE, ProblemDocument
from freehold.http.catalogue import BY_SLUG, CATALOGUE, ProblemType
from freehold.http.errors import (
    BodyTooLarge,
    MalformedCoding,
    MalformedJson,
    RequestTimeout,
    UnsupportedMediaType,
)
from freehold.http.media_types import JSON
from freehold.http.tags import TAGS

API_KEY = "api_key"
OPERATOR_TOKEN = "operator_token"  # noqa: S105 (the name of a scheme)
PUBLIC: Mapping[str, Any] = {"security": []}
"""`openapi_extra` of routes without a credential."""
WITH_API_KEY: Mapping[str, Any] = {"security": [{API_KEY: []}]}
"""`openapi_extra` of routes with a tenant's API key, in a service whose others take another one."""
TENANTS_CALLERS = (MissingScope, TenantSuspended, LedgerVersionUnsupported)
"""Errors that every route with a tenant's API key may answer."""

_OWN = "x-problem-types"
_METHODS = ("get", "put", "post", "delete", "patch")
_ANYWHERE = (Internal, Overloaded)
_WITH_CREDENTIAL = (Unauthorized, ValidationFailed, Unavailable)
_WITH_BODY = (MalformedCoding, RequestTimeout, BodyTooLarge, UnsupportedMediaType)
_WITH_KEY = (IdempotencyKeyMissing, IdempotencyKeyInvalid, IdempotencyKeyReused)
_IN_PATH: Mapping[str, Sequence[type[DomainError]]] = {
    "tenant_id": (NotFound, TenantDeleted),
    # An unknown one is a new one.
    "account_id": (),
    "currency": (),
    "event_type": (),
}
_OTHERS_IN_PATH = (NotFound,)

_SECURITY_SCHEMES: Mapping[str, str] = {
    API_KEY: "A tenant's API key, which begins with `fh_`; for reads also a read token.",
    OPERATOR_TOKEN: "The operator's token, which is the setting `FREEHOLD_OPERATOR_TOKEN`.",
}

_HEADERS: Mapping[str, str] = {
    "X-Request-Id": "The request's own, where it sent one of at most 64 letters and digits.",
    "Retry-After": "In how many seconds to come again.",
    "WWW-Authenticate": "How to send a credential.",
    "Accept": "The media type that is taken, where another one was sent.",
    "Accept-Encoding": "The codings that are taken, where another one was sent.",
    "Idempotency-Replayed": "`true` where this is the answer to an earlier request of that key.",
    "Preference-Applied": "The preferences that were applied.",
    "ETag": "What to send as `If-None-Match`, to get a body only after a change.",
    "Content-Disposition": "The file's name.",
}
_HEADERS_OF = {
    401: ("WWW-Authenticate",),
    415: ("Accept", "Accept-Encoding"),
    429: ("Retry-After",),
    503: ("Retry-After",),
}


def answering(*errors: type[DomainError]) -> Mapping[str, Any]:
    """Name, in a route's `openapi_extra`, the errors that do not follow from what it is."""
    return {_OWN: [error.slug for error in errors]}


def documented_headers(*names: str) -> dict[str, Any]:
    """Document headers of an answer."""
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}}


def complete_openapi(
    app: FastAPI,
    credential: str,
    models: Iterable[type[BaseModel]],
    of_callers: Iterable[type[DomainError]],
) -> None:
    """Complete an application's OpenAPI document.

    Args:
        app: The application.
        credential: `API_KEY` or `OPERATOR_TOKEN`, of the routes that say nothing else.
        models: Bodies that its routes parse themselves.
        of_callers: Errors that every route with a credential may answer.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _complete_components(document, models)
            document["servers"] = [{"url": "/", "description": "The server of this document."}]
            for path, method, operation in _operations(document):
                operation.setdefault("security", [{credential: []}])
                _complete(path, method, operation, tuple(of_callers))
            _complete_tags(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, method, item[method]


def _complete_tags(document: dict[str, Any]) -> None:
    operations = (operation for _, _, operation in _operations(document))
    used = {tag for operation in operations for tag in operation.get("tags", ())}
    document["tags"] = [
        {"name": tag, "description": text} for tag, text in TAGS.items() if tag in used
    ]


def _complete_components(document: dict[str, Any], models: Iterable[type[BaseModel]]) -> None:
    components = document.setdefault("components", {})
    components["securitySchemes"] = {
        name: {"type": "http", "scheme": "bearer", "description": text}
        for name, text in _SECURITY_SCHEMES.items()
    }
    components["headers"] = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()
    }
    schemas = components.setdefault("schemas", {})
    read_or_raised: list[type[BaseModel]] = [*models, ProblemDocument]
    _, found = models_json_schema(
        [(model, "validation") for model in read_or_raised],
        ref_template="#/components/schemas/{model}",
    )
    schemas.update(found.get("$defs", {}))
    # FastAPI's own form of a 422, which no route answers.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    # FastAPI removes nulls from examples.
    for model in _models():
        documented = schemas.get(model.__name__, {})
        extra = model.model_config.get("json_schema_extra")
        if "examples" in documented and isinstance(extra, dict):
            documented["examples"] = extra["examples"]


def _complete(
    path: str, method: str, operation: dict[str, Any], of_callers: Sequence[type[DomainError]]
) -> None:
    """Add to an operation the errors that it answers, and the headers of all its answers."""
    responses = operation["responses"]
    has_key = any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", ()))
    for status, response in responses.items():
        names = ["X-Request-Id"]
        if has_key and status.startswith("2"):
            names.append("Idempotency-Replayed")
        response.setdefault("headers", {}).update(documented_headers(*names)["headers"])
    by_status: dict[int, list[ProblemType]] = {}
    for kind in sorted(_problems(path, operation, of_callers)):
        by_status.setdefault(kind.status, []).append(kind)
    for status in sorted(by_status):
        responses[str(status)] = _response(by_status[status])
    operation["responses"] = responses = dict(sorted(responses.items()))
    responses["default"] = {
        "description": "A request that HTTP itself does not allow: `malformed-request`,"
        " `uri-too-long`, `head-too-large`, `not-implemented`, `http-version-unsupported`.",
        "content": _content(),
    }
    if method == "get":
        operation["description"] = operation.get("description", "") + (
            "\n\n`HEAD` gives the headers alone."
        )


def _problems(
    path: str, operation: dict[str, Any], of_callers: Sequence[type[DomainError]]
) -> set[ProblemType]:
    errors: set[type[DomainError]] = set(_ANYWHERE)
    if operation.get("security") != []:
        errors.update(_WITH_CREDENTIAL, of_callers)
    for part in path.split("/"):
        if part.startswith("{"):
            errors.update(_IN_PATH.get(part[1:-1], _OTHERS_IN_PATH))
    if "requestBody" in operation:
        errors.update(_WITH_BODY)
        if JSON in operation["requestBody"]["content"]:
            errors.add(MalformedJson)
    if any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", ())):
        errors.update(_WITH_KEY)
    return {BY_SLUG[slug] for slug in operation.pop(_OWN, ())} | {
        CATALOGUE[error] for error in errors
    }


def _response(kinds: Sequence[ProblemType]) -> dict[str, Any]:
    names = ("X-Request-Id", *_HEADERS_OF.get(kinds[0].status, ()))
    return {
        "description": " ".join(f"`{kind.slug}`: {kind.title}." for kind in kinds),
        "content": _content([kind.uri for kind in kinds]),
        **documented_headers(*names),
    }


def _content(uris: Sequence[str] = ()) -> dict[str, Any]:
    schema: dict[str, Any] = {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}
    if uris:
        schema["properties"] = {"type": {"enum": list(uris)}}
    return {PROBLEM_MEDIA_TYPE: {"schema": schema}}


def _models(base: type[BaseModel] = BaseModel) -> Iterator[type[BaseModel]]:
    for model in base.__subclasses__():
        yield model
        yield from _models(model)
