"""Reading requests and turning what breaks a rule into problems."""

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from freehold.contracts.problems import MALFORMED_JSON, VALIDATION_FAILED, Problem

_Model = TypeVar("_Model", bound=BaseModel)
_ERRORS_SHOWN_MAX = 100


def header_values(request: Request, name: bytes) -> list[str]:
    """Take the values of a header, named in lower case; much faster than Starlette's own way."""
    return [value.decode("latin-1") for key, value in request.scope["headers"] if key == name]


async def read_body(request: Request) -> bytes:
    """Read a whole body, which most often comes in one part.

    Raises:
        ClientDisconnect: The client went away before its end.
    """
    parts: list[bytes] = []
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            return b"".join([*parts, part]) if parts else part
        parts.append(part)


def parse(model: type[_Model], body: bytes) -> _Model:
    """Read a body as a model.

    Raises:
        Problem: malformed-json, or validation-failed with every broken rule.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise refusal(error) from None


def refusal(error: ValidationError) -> Problem:
    """Turn pydantic's errors into a problem."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    if faults[0]["type"] == "json_invalid":
        return Problem(MALFORMED_JSON, faults[0]["msg"])
    return field_errors(
        (pointer(fault["loc"]), fault["msg"].removeprefix("Value error, ")) for fault in faults
    )


def field_errors(errors: Iterable[tuple[str, str]]) -> Problem:
    """Make the problem of fields that break rules, from pairs of pointer and detail."""
    listed = [{"pointer": where, "detail": detail} for where, detail in errors]
    first = listed[0]
    more = f" (and {len(listed) - 1} more)" if len(listed) > 1 else ""
    place = first["pointer"].removeprefix("/").replace("/", ".") or "the body"
    return Problem(
        VALIDATION_FAILED,
        f"{place}: {first['detail']}{more}",
        errors=listed[:_ERRORS_SHOWN_MAX],
    )


def pointer(location: Iterable[int | str]) -> str:
    """Write a place in a document as a JSON pointer (RFC 6901)."""
    return "".join(
        "/" + str(step).replace("~", "~0").replace("/", "~1")
        for step in location
        if step != "[key]"
    )


def json_body(model: type[BaseModel], *, required: bool = True) -> Mapping[str, Any]:
    """Describe, for OpenAPI, the body of a route that reads its bytes itself."""
    return {
        "requestBody": {
            "required": required,
            "content": {
                "application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
            },
        }
    }
