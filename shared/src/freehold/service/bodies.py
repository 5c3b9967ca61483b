"""Reading requests and turning what breaks a rule into problems."""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import chain, islice
from typing import Any, TypeVar, cast

from pydantic import BaseModel, FailFast, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json
from starlette.requests import ClientDisconnect, Request

from freehold.contracts.problems import MALFORMED_JSON, VALIDATION_FAILED, Problem
from freehold.service.shapes import excess

_Model = TypeVar("_Model", bound=BaseModel)
_ERRORS_SHOWN_MAX = 100
# Items of a list whose faults are looked for at a time: all of theirs together are not many.
_ITEMS_AT_ONCE = 20


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
    """Read a body as a model, in time and memory that grow no faster than a valid one's.

    Raises:
        Problem: malformed-json, or validation-failed with the broken rules.
    """
    if found := excess(model, body):
        place, detail = found
        raise field_errors([(pointer(place), detail)])
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        faults = _faults(error)
        raise _refusal(chain(faults, _further_faults(model, body, faults))) from None


def refusal(error: ValidationError) -> Problem:
    """Turn pydantic's errors into a problem."""
    return _refusal(_faults(error))


def _refusal(faults: Iterable[ErrorDetails]) -> Problem:
    shown = list(islice(faults, _ERRORS_SHOWN_MAX + 1))
    if shown[0]["type"] == "json_invalid":
        return Problem(MALFORMED_JSON, shown[0]["msg"])
    return field_errors(
        (pointer(fault["loc"]), fault["msg"].removeprefix("Value error, ")) for fault in shown
    )


def _faults(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_context=False, include_input=False)


def _further_faults(
    model: type[BaseModel], body: bytes, faults: Iterable[ErrorDetails]
) -> Iterator[ErrorDetails]:
    """Look on where a list was left at its first bad item (`FailFast`), in those behind it."""
    for step, place in dict.fromkeys(fault["loc"][:2] for fault in faults if fault["loc"][1:]):
        name = str(step)
        field = model.model_fields.get(name)
        if field is None or not any(isinstance(rule, FailFast) for rule in field.metadata):
            continue
        items = from_json(body)[name]
        for start in range(int(place) + 1, len(items), _ITEMS_AT_ONCE):
            some = json.dumps(items[start : start + _ITEMS_AT_ONCE])
            try:
                _items(model, name).validate_json(some)
            except ValidationError as error:
                for fault in _faults(error):
                    at, *inside = fault["loc"]
                    yield {**fault, "loc": (name, start + int(at), *inside)}


@cache
def _items(model: type[BaseModel], name: str) -> TypeAdapter[Any]:
    return TypeAdapter(cast("type[Any]", model.model_fields[name].annotation))


def field_errors(errors: Iterable[tuple[str, str]]) -> Problem:
    """Make the problem of fields that break rules, from pairs of pointer and detail."""
    listed = [
        {"pointer": where, "detail": detail}
        for where, detail in islice(errors, _ERRORS_SHOWN_MAX + 1)
    ]
    first = listed[0]
    more = f" (and {len(listed) - 1} more)" if len(listed) > 1 else ""
    if len(listed) > _ERRORS_SHOWN_MAX:
        more = f" (and at least {_ERRORS_SHOWN_MAX} more)"
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
