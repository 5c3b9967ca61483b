"""Request bodies: read, parsed, and refused with each broken rule at its place."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import chain, islice
from typing import Any, TypeVar, cast

from pydantic import BaseModel, FailFast, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json
from starlette.requests import ClientDisconnect, Request

from freehold.contracts.errors import DomainError, ValidationFailed
from freehold.contracts.excerpts import excerpt
from freehold.contracts.faults import KEY_STEP, Document, Schema
from freehold.contracts.problems import FieldError
from freehold.http.bounds import excess
from freehold.http.errors import MalformedJson, malformed_json
from freehold.http.media_types import require, require_json
from freehold.http.members import repeated_member
from freehold.http.schemas import reference

_Model = TypeVar("_Model", bound=BaseModel)
_ERRORS_SHOWN_MAX = 100
# This many items of a list are checked at a time, so that their faults together are few.
_ITEMS_AT_ONCE = 20
_ITEM = re.compile(r"/(.*/[0-9]+)/")


def header_values(request: Request, name: bytes) -> list[str]:
    """Return the values of a header, named in lower case, faster than Starlette does."""
    return [value.decode("latin-1") for key, value in request.scope["headers"] if key == name]


async def read_body(request: Request) -> bytes:
    """Read a whole body of JSON, which most often comes in one part.

    Raises:
        DomainError: unsupported-media-type.
        ClientDisconnect: The client went away before its end.
    """
    if _has_body(request):
        require_json(header_values(request, b"content-type"))
    return await _whole(request)


async def read_content(request: Request, media_type: str) -> bytes:
    """Read a whole body of another media type.

    Raises:
        DomainError: unsupported-media-type.
        ClientDisconnect: The client went away before its end.
    """
    if _has_body(request):
        require(media_type, header_values(request, b"content-type"))
    return await _whole(request)


async def _whole(request: Request) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        if not message.get("more_body", False):
            return b"".join([*parts, part]) if parts else part
        parts.append(part)


def _has_body(request: Request) -> bool:
    """Whether a request has content (RFC 9112, section 6.3). Without content it needs no type."""
    for name, value in request.scope["headers"]:
        if name == b"transfer-encoding" or (name == b"content-length" and value != b"0"):
            return True
    return False


def parse(
    model: type[_Model],
    body: bytes,
    *,
    whole: str = "the body",
    errors_max: int = _ERRORS_SHOWN_MAX,
) -> _Model:
    """Read a body as a model, in time and memory that grow no faster than a valid one's.

    Args:
        model: What the body must be.
        body: JSON.
        whole: What messages call it.
        errors_max: How many broken rules the error names at most.

    Raises:
        DomainError: malformed-json, or validation-failed with the broken rules.
    """
    if found := excess(body):
        location, detail = found
        raise field_errors([(pointer(location), f"{_dotted(location) or whole} {detail}")])
    try:
        read = model.model_validate_json(body)
    except ValidationError as error:
        faults = _faults(error)
        if faults[0]["type"] == "json_invalid":
            raise _malformed(body, faults[0], whole) from None
        # What was sent is read once for all faults: each has its own copy only if asked for.
        document = Document(schema_of(model), from_json(body), whole)
        further = _further_faults(model, document, faults)
        raise _refusal(chain(faults, further), document, errors_max) from None
    if repeated := repeated_member(read, body):
        detail = f"{_dotted(repeated)} stands more than once in its object"
        raise field_errors([(pointer(repeated), detail)])
    return read


def refusal(error: ValidationError, document: Document) -> DomainError:
    """Turn pydantic's errors into a problem; `document` is what was read."""
    return _refusal(_faults(error), document, _ERRORS_SHOWN_MAX)


def _refusal(faults: Iterable[ErrorDetails], document: Document, errors_max: int) -> DomainError:
    return field_errors(
        ((pointer(fault["loc"]), document.in_words(fault)) for fault in faults), errors_max
    )


def _faults(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_context=False, include_input=False)


def _malformed(body: bytes, fault: ErrorDetails, whole: str) -> DomainError:
    if not body.strip():
        return MalformedJson(f"{whole} is empty: send JSON")
    return malformed_json(fault["msg"].removeprefix("Invalid JSON: "))


@cache
def schema_of(model: type[BaseModel]) -> Schema:
    """Give the JSON Schema of a model, by which its faults are put into words."""
    return model.model_json_schema()


def _further_faults(
    model: type[BaseModel], document: Document, faults: Iterable[ErrorDetails]
) -> Iterator[ErrorDetails]:
    """Find faults behind the first bad item of a list, where parsing stopped (`FailFast`)."""
    for step, number in dict.fromkeys(fault["loc"][:2] for fault in faults if fault["loc"][1:]):
        name = str(step)
        field = model.model_fields.get(name)
        if field is None or not any(isinstance(rule, FailFast) for rule in field.metadata):
            continue
        items = document.given[name]
        for start in range(int(number) + 1, len(items), _ITEMS_AT_ONCE):
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


def field_errors(
    errors: Iterable[tuple[str, str]], errors_max: int = _ERRORS_SHOWN_MAX
) -> DomainError:
    """Make the problem of fields that break rules.

    Args:
        errors: Pairs of pointer and detail; each detail is a sentence that names the field.
        errors_max: How many of them the problem names at most.
    """
    listed = [
        FieldError(pointer=where, detail=detail) for where, detail in islice(errors, errors_max + 1)
    ]
    first = listed[0]
    more = f" (and {len(listed) - 1} more)" if len(listed) > 1 else ""
    if len(listed) > errors_max:
        more = f" (and at least {errors_max} more)"
    # The detail names the field of an item, and not which item it is.
    item = _ITEM.match(first.pointer)
    where = f"{item[1].replace('/', '.')}: " if item else ""
    return ValidationFailed(f"{where}{first.detail}{more}", errors=listed[:errors_max])


def _dotted(location: Iterable[int | str]) -> str:
    return ".".join(excerpt(str(step)) for step in location)


def pointer(location: Iterable[int | str]) -> str:
    """Write a location in a document as a JSON pointer (RFC 6901)."""
    return "".join(
        "/" + str(step).replace("~", "~0").replace("/", "~1")
        for step in location
        if step != KEY_STEP
    )


def json_body(model: type[BaseModel], *, required: bool = True) -> Mapping[str, Any]:
    """Describe, for OpenAPI, the body of a route that reads its bytes itself."""
    return {
        "requestBody": {
            "required": required,
            "content": {"application/json": {"schema": reference(model)}},
        }
    }
