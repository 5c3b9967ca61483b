"""JSON Schemas as generators of clients like them.

Pydantic repeats each name as a title, and does not say in how many bits an integer fits.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

_BY_NAME = ("properties", "patternProperties", "$defs")
_IN_LISTS = ("anyOf", "oneOf", "allOf")
_SINGLE = ("items", "additionalProperties", "propertyNames", "contentSchema")


def reference(model: type[BaseModel]) -> Schema:
    """Refer to the schema of a model."""
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def stream_of(media_type: str, *items: Schema, example: str, binary: bool = False) -> Schema:
    """Describe a body that is read piece by piece: lines, or events.

    Args:
        media_type: Of the body.
        items: What each of them is one of, once it is decoded.
        example: A short body.
        binary: Whether generators are to treat it as bytes, since it may have any length.
    """
    return {
        "type": "string",
        **({"format": "binary"} if binary else {}),
        "contentMediaType": media_type,
        "contentSchema": {"type": "array", "items": _one_of(items)},
        "examples": [example],
    }


def _one_of(items: Sequence[Schema]) -> Schema:
    return items[0] if len(items) == 1 else {"oneOf": list(items)}


def tidy(schema: Schema) -> None:
    """Give each integer in a schema the format that its bounds fit in, and remove its titles.

    A title repeats a name. A default of null goes too: it stands for what is left out.
    """
    schema.pop("title", None)
    if schema.get("default", ...) is None:
        del schema["default"]
    if schema.get("type") == "integer" and "const" not in schema:
        bits = next((n for n in (32, 64) if _fits(schema, n)), None)
        if bits is not None:
            schema["format"] = f"int{bits}"
    for inner in _within(schema):
        tidy(inner)


def without_null(schema: Schema) -> Schema:
    """Give the schema of a value that is left out where it is null, as a parameter is."""
    kept = dict(schema)
    choices = [choice for choice in kept.pop("anyOf", ()) if choice.get("type") != "null"]
    match choices:
        case []:
            return kept
        case [only]:
            return {**only, **kept}
    return {"anyOf": choices, **kept}


def _fits(schema: Schema, bits: int) -> bool:
    limit = 2 ** (bits - 1)
    # A bound that is missing may be anywhere.
    return bool(schema.get("minimum", -(2**99)) >= -limit and schema.get("maximum", 2**99) < limit)


def _within(schema: Schema) -> Iterator[Schema]:
    for name in _BY_NAME:
        yield from schema.get(name, {}).values()
    for name in _IN_LISTS:
        yield from schema.get(name, ())
    yield from (schema[name] for name in _SINGLE if isinstance(schema.get(name), dict))
