"""The OpenAPI document: what FastAPI cannot see of routes that parse and write bodies themselves.

Which errors a route can answer follows from its credential, its path, its body and its
Idempotency-Key. A route names only the others, with `answering`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

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
    Overloaded,
    TenantSuspended,
    Unauthorized,
    Unavailable,
    ValidationFailed,
)
from freehold.contracts.problems import ProblemDocument
from freehold.http.catalogue import BY_SLUG, CATALOGUE, ProblemType
from freehold.http.errors import (
    BodyTooLarge,
    MalformedCoding,
    MalformedJson,
    RequestTimeout,
    UnsupportedMediaType,
)
from freehold.http.media_types import JSON
from freehold.http.path_parameters import documented_path, path_parameters
from freehold.http.problem_schemas import (
    NOT_HTTP,
    name_problem_types,
    problem_examples,
    problem_response,
    problem_responses,
    problem_schemas,
)
from freehold.http.response_headers import RESPONSE_HEADERS, documented_headers
from freehold.http.schemas import tidy
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

_SECURITY_SCHEMES: Mapping[str, str] = {
    API_KEY: "A tenant's API key, which begins with `fh_`; for reads also a read token.",
    OPERATOR_TOKEN: "An operator's token, which begins with `fo_`, or that of the setting"
    " `FREEHOLD_OPERATOR_TOKEN`, whose bearer is the owner `root`.",
}


def answering(*errors: type[DomainError]) -> Mapping[str, Any]:
    """Name, in a route's `openapi_extra`, the errors that do not follow from what it is."""
    return {_OWN: [error.slug for error in errors]}


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
        of_callers: Errors that every route with that credential may answer.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _complete_components(document, models)
            document["servers"] = [{"url": "/", "description": "The server of this document."}]
            for path, method, operation in _operations(document):
                operation.setdefault("security", [{credential: []}])
                is_callers = operation["security"] == [{credential: []}]
                _complete(path, method, operation, tuple(of_callers) if is_callers else ())
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
    components["headers"] = dict(RESPONSE_HEADERS)
    components["examples"] = problem_examples()
    components["responses"] = problem_responses()
    schemas = components.setdefault("schemas", {})
    # FastAPI rounds bounds and removes nulls from examples.
    answered = [model for model in _own_models() if model.__name__ in schemas]
    schemas.update(_described("serialization", answered))
    schemas.update(_described("validation", [*models, ProblemDocument]))
    # FastAPI's own form of a 422, which no route answers.
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas.update(problem_schemas())
    name_problem_types(schemas)
    for schema in schemas.values():
        tidy(schema)


def _complete(
    path: str, method: str, operation: dict[str, Any], of_callers: Sequence[type[DomainError]]
) -> None:
    """Add to an operation the errors that it answers, and the headers of all its answers."""
    _complete_parameters(path, operation)
    responses = operation["responses"]
    # FastAPI's own, which no route answers.
    responses.pop("422", None)
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
        responses[str(status)] = problem_response(by_status[status])
    operation["responses"] = responses = dict(sorted(responses.items()))
    responses["default"] = dict(NOT_HTTP)
    if method == "get":
        operation["description"] = operation.get("description", "") + (
            "\n\n`HEAD` gives the headers alone."
        )


def _complete_parameters(path: str, operation: dict[str, Any]) -> None:
    others = [one for one in operation.pop("parameters", ()) if one["in"] != "path"]
    if parameters := [*documented_path(path), *others]:
        operation["parameters"] = parameters
    for one in others:
        tidy(one["schema"])


def _problems(
    path: str, operation: dict[str, Any], of_callers: Sequence[type[DomainError]]
) -> set[ProblemType]:
    errors: set[type[DomainError]] = set(_ANYWHERE)
    if operation.get("security") != []:
        errors.update(_WITH_CREDENTIAL, of_callers)
    for parameter in path_parameters(path).values():
        errors.update(parameter.errors)
    if "requestBody" in operation:
        errors.update(_WITH_BODY)
        if JSON in operation["requestBody"]["content"]:
            errors.add(MalformedJson)
    if any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", ())):
        errors.update(_WITH_KEY)
    return {BY_SLUG[slug] for slug in operation.pop(_OWN, ())} | {
        CATALOGUE[error] for error in errors
    }


def _described(
    mode: Literal["serialization", "validation"], models: Iterable[type[BaseModel]]
) -> dict[str, Any]:
    _, found = models_json_schema(
        [(model, mode) for model in models], ref_template="#/components/schemas/{model}"
    )
    described: dict[str, Any] = found.get("$defs", {})
    return described


def _own_models(base: type[BaseModel] = BaseModel) -> Iterator[type[BaseModel]]:
    for model in base.__subclasses__():
        # FastAPI has models of its own, some with the same names.
        if model.__module__.startswith("freehold"):
            yield model
        yield from _own_models(model)
