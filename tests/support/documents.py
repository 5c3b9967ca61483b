"""OpenAPI documents, and what tests hold to them."""

from collections.abc import Iterator
from typing import Any

import jsonschema

Document = dict[str, Any]

_METHODS = ("get", "put", "post", "delete", "patch")


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    """Give each operation's method, path, and what the document says of it."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield method, path, item[method]


def resolved(document: Document, part: Document) -> Document:
    """Give what a part refers to; the part itself where it does not refer to anything."""
    if "$ref" not in part:
        return part
    found = document
    for step in part["$ref"].removeprefix("#/").split("/"):
        found = found[step]
    return found


def media_of(document: Document, operation: Document) -> Iterator[tuple[str, Document]]:
    """Give the media types of an operation's body and answers, with what is said of them."""
    for body in (operation.get("requestBody", {}), *operation["responses"].values()):
        yield from resolved(document, body).get("content", {}).items()


def named_within(name: str, schema: Document) -> Iterator[tuple[str, Document]]:
    """Give a schema and those within it, each under the name of the member that has it.

    References are not followed.
    """
    yield name, schema
    for member, inner in schema.get("properties", {}).items():
        yield from named_within(member, inner)
    for choices in ("anyOf", "oneOf", "allOf"):
        for inner in schema.get(choices, ()):
            yield from named_within(name, inner)
    for inside in ("items", "additionalProperties", "propertyNames", "contentSchema"):
        if isinstance(schema.get(inside), dict):
            yield from named_within(name, schema[inside])


def validate(document: Document, schema: Document, instance: Any) -> None:
    """Hold an instance to a schema whose references lead into an OpenAPI document."""
    whole = {**schema, "components": document["components"]}
    validator = jsonschema.Draft202012Validator(whole, format_checker=jsonschema.FormatChecker())
    # The error itself would show the whole document.
    faults = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(instance)]
    assert not faults, faults
