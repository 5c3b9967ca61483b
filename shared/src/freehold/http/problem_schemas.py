"""Problems in OpenAPI documents: one schema for each status, and one example for each type.

So a generated client has one class for each status. Which of its types an operation answers is what
the answer's description and its examples name: generators refuse, or make a class of, what narrows
a reference.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from freehold.contracts.problems import PROBLEM_MEDIA_TYPE, ProblemDocument
from freehold.http.catalogue import CATALOGUE, PROBLEM_TYPES, ProblemType
from freehold.http.errors import (
    HeadTooLarge,
    HttpVersionUnsupported,
    MalformedRequest,
    Unimplemented,
    UriTooLong,
)
from freehold.http.problems import problem_document
from freehold.http.response_headers import headers_of_problem
from freehold.http.schemas import Schema

_SCHEMAS = "#/components/schemas/"
_RESPONSES = "#/components/responses/"
_ALL_TYPES = "ProblemType"
_NOT_HTTP_NAME = "NotHttp"
_NOT_HTTP = (MalformedRequest, UriTooLong, HeadTooLarge, Unimplemented, HttpVersionUnsupported)
NOT_HTTP: Mapping[str, str] = {"$ref": _RESPONSES + _NOT_HTTP_NAME}
"""The answer of every operation to a request that is not of HTTP."""
_NULL: Schema = {"type": "null"}
_UUID: Schema = {"type": "string", "format": "uuid"}
_TEXT: Schema = {"type": "string"}

_MEMBERS: Mapping[int, Mapping[str, Schema]] = {
    409: {
        "existing_event_id": {
            "anyOf": [_UUID, _NULL],
            "description": "The event that stands against the request; null where none does.",
        },
        "existing_transaction_id": {
            **_UUID,
            "description": "Of `already-reversed`: the transaction that reversed this one.",
        },
        "refunded_event_id": {
            **_UUID,
            "description": "Of `already-refunded`: the event of which too little is left.",
        },
        "external_id": {
            "anyOf": [{**_TEXT, "minLength": 1, "maxLength": 255}, _NULL],
            "description": "Of `duplicate-external-id`: the id that the existing event has.",
        },
        "differs": {
            "anyOf": [{"type": "array", "items": _TEXT}, _NULL],
            "description": "Of `duplicate-external-id`: in which fields the existing event is"
            " another one, as `metadata.plan`; null where they cannot be compared.",
        },
        "hold_status": {
            "type": "string",
            "enum": ["captured", "released", "expired"],
            "description": "Of `hold-not-pending`: what has become of the hold.",
        },
    },
    422: {
        "transaction_id": {
            **_UUID,
            "description": "Of `not-reversible`: the transaction that the event is a leg of.",
        }
    },
}
"""What some types add to a problem document (`DomainError.facts`), by status."""


def problem_schemas() -> dict[str, Schema]:
    """Make the schemas of problems: `Problem422` and the like, by name."""
    by_status: dict[int, list[ProblemType]] = {}
    for kind in PROBLEM_TYPES:
        by_status.setdefault(kind.status, []).append(kind)
    return {
        _ALL_TYPES: {"description": "All types of problems.", **_types(PROBLEM_TYPES)},
        **{_name(status): _of_status(status, kinds) for status, kinds in by_status.items()},
    }


def name_problem_types(schemas: Mapping[str, Schema]) -> None:
    """List the types of problems where a schema has any of them."""
    for name in ("ProblemDocument", "DescribedProblem", "RejectedLine"):
        if name in schemas:
            member = schemas[name]["properties"]["type"]
            del member["type"]
            member["$ref"] = _SCHEMAS + _ALL_TYPES


def problem_examples() -> dict[str, Any]:
    """Make an example of each type, by slug."""
    return {
        kind.slug: {"summary": kind.title, "value": problem_document(kind.example)}
        for kind in PROBLEM_TYPES
    }


def problem_responses() -> dict[str, Any]:
    """Make the answers that many operations have: those of one type, and of requests in no HTTP."""
    alone = {_alone(kind): _response([kind]) for kind in PROBLEM_TYPES}
    kinds = [CATALOGUE[error] for error in _NOT_HTTP]
    named = ", ".join(f"`{kind.slug}`" for kind in kinds)
    not_http = {
        "description": f"A request that HTTP itself does not allow: {named}.",
        "content": _content(kinds, ProblemDocument.__name__),
    }
    return {**alone, _NOT_HTTP_NAME: not_http}


def problem_response(kinds: Sequence[ProblemType]) -> dict[str, Any]:
    """Describe an answer that is a problem of one of these types, which have one status."""
    return {"$ref": _RESPONSES + _alone(kinds[0])} if len(kinds) == 1 else _response(kinds)


def _response(kinds: Sequence[ProblemType]) -> dict[str, Any]:
    status = kinds[0].status
    return {
        "description": " ".join(f"`{kind.slug}`: {kind.title}." for kind in kinds),
        "content": _content(kinds, _name(status)),
        **headers_of_problem(status),
    }


def _content(kinds: Sequence[ProblemType], schema: str) -> dict[str, Any]:
    return {
        PROBLEM_MEDIA_TYPE: {
            "schema": {"$ref": _SCHEMAS + schema},
            "examples": {
                kind.slug: {"$ref": f"#/components/examples/{kind.slug}"} for kind in kinds
            },
        }
    }


def _types(kinds: Sequence[ProblemType]) -> Schema:
    return {
        "type": "string",
        "enum": [kind.uri for kind in kinds],
        # Some generators name the members of an enum by this.
        "x-enum-varnames": [kind.slug.upper().replace("-", "_") for kind in kinds],
    }


def _alone(kind: ProblemType) -> str:
    return "".join(word.capitalize() for word in kind.slug.split("-"))


def _name(status: int) -> str:
    return f"Problem{status}"


def _of_status(status: int, kinds: Sequence[ProblemType]) -> Schema:
    whole = ProblemDocument.model_json_schema(ref_template=_SCHEMAS + "{model}")
    members = {
        **whole["properties"],
        "type": _types(kinds),
        "status": {"type": "integer", "const": status},
        **_MEMBERS.get(status, {}),
    }
    required = list(whole["required"])
    if status == 422:
        required.append("errors")
    return {
        "type": "object",
        "description": f"The body of an answer with the status {status}.",
        "properties": members,
        "required": required,
        "examples": [problem_document(kind.example) for kind in kinds],
    }
