"""The header fields of answers, as OpenAPI documents describe them."""

from collections.abc import Mapping
from typing import Any

_TEXT: Mapping[str, Any] = {"type": "string"}

RESPONSE_HEADERS: Mapping[str, Mapping[str, Any]] = {
    name: {"description": description, "schema": schema}
    for name, description, schema in (
        (
            "X-Request-Id",
            "The request's own, where it sent one of this form; otherwise a new one.",
            {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
        ),
        (
            "Retry-After",
            "In how many seconds to send the request again.",
            {"type": "integer", "format": "int32", "minimum": 1, "maximum": 2**31 - 1},
        ),
        (
            "WWW-Authenticate",
            "How to send a credential.",
            {"type": "string", "const": 'Bearer realm="freehold"'},
        ),
        ("Accept", "The media type that is taken, where another one was sent.", _TEXT),
        ("Accept-Encoding", "The codings that are taken, where another one was sent.", _TEXT),
        (
            "Idempotency-Replayed",
            "Whether this is the answer to an earlier request with the key; left out if not.",
            {"type": "boolean"},
        ),
        ("Preference-Applied", "The preferences that were applied, as `amounts=string`.", _TEXT),
        (
            "ETag",
            "What to send as `If-None-Match`, to get a body only after a change.",
            {"type": "string", "pattern": '^W/"[0-9a-f]{32}"$'},
        ),
        (
            "Content-Disposition",
            "The file's name.",
            {"type": "string", "pattern": '^attachment; filename="[^"]+"$'},
        ),
    )
}
"""Header objects of OpenAPI, by name."""

_OF_STATUS: Mapping[int, tuple[str, ...]] = {
    401: ("WWW-Authenticate",),
    415: ("Accept", "Accept-Encoding"),
    429: ("Retry-After",),
    503: ("Retry-After",),
}


def documented_headers(*names: str) -> dict[str, Any]:
    """Document headers of an answer."""
    return {"headers": {name: {"$ref": f"#/components/headers/{name}"} for name in names}}


def headers_of_problem(status: int) -> dict[str, Any]:
    """Document the headers of a problem with a status."""
    return documented_headers("X-Request-Id", *_OF_STATUS.get(status, ()))
