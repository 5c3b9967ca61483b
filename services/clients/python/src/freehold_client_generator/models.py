"""Models of answers, and of what is nested in requests, by datamodel-code-generator.

Answers are msgspec's structs: read in one pass, with integers of any length, and without members
that a later release adds. What is nested in requests are typed dictionaries, as callers write them.
"""

from collections.abc import Mapping
from typing import Any

from datamodel_code_generator import generate
from datamodel_code_generator.enums import DataModelType, InputFileType
from datamodel_code_generator.format import DatetimeClassType, Formatter, PythonVersion

from freehold_client_generator.document import HEADER, Document, Schema, references

# Rules are the server's. Texts of a schema's own name say nothing new.
_LEFT_OUT = frozenset(
    {
        "additionalProperties",
        "const",
        "enum",
        "examples",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "pattern",
        "propertyNames",
        "title",
    }
)
_NULL = {"type": "null"}
_ANY_TIME = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "string"}]}


def answer_models(document: Document) -> str:
    """Write the models of answers."""
    names = set().union(*(one.answered_schemas() for one in document.operations))
    schemas = {name: _answered(schema) for name, schema in document.reached_from(names).items()}
    # It becomes an exception, which takes all of its members.
    schemas["ProblemDocument"] = {"type": "object", "additionalProperties": True}
    return _generated(
        schemas,
        DataModelType.MsgspecStruct,
        base_class="freehold_client.model.Model",
        output_datetime_class=DatetimeClassType.Datetime,
        apply_default_values_for_required_fields=True,
    )


def nested_models(document: Document) -> str:
    """Write the types of what is nested in requests."""
    bodies = [document.resolved(one.body) for one in document.operations]
    names = set().union(*(references(body) for body in bodies))
    return _generated(
        {name: _sent(schema) for name, schema in document.reached_from(names).items()},
        DataModelType.TypingTypedDict,
        output_datetime_class=DatetimeClassType.Datetime,
    )


def _generated(schemas: Mapping[str, Any], kind: DataModelType, **options: Any) -> str:
    found = generate(
        {
            "openapi": "3.1.0",
            "info": {"title": "Freehold", "version": "1"},
            "paths": {},
            "components": {"schemas": schemas},
        },
        input_file_type=InputFileType.OpenAPI,
        output_model_type=kind,
        target_python_version=PythonVersion.PY_311,
        formatters=[Formatter.BUILTIN],
        custom_file_header=HEADER,
        disable_timestamp=True,
        keep_model_order=True,
        use_annotated=False,
        use_attribute_docstrings=True,
        use_double_quotes=True,
        use_field_description=True,
        use_schema_description=True,
        use_single_line_docstring=True,
        use_standard_collections=True,
        use_union_operator=True,
        **options,
    )
    if not isinstance(found, str):
        raise TypeError("one module was expected")
    return found


def _answered(schema: Schema) -> Schema:
    """Loosen a schema: what an answer may leave out is None, and new values are no errors."""
    found = _loosened(schema, time={"type": "string", "format": "date-time"})
    required = set(found.get("required", ()))
    for name, member in found.get("properties", {}).items():
        if name not in required and member.get("default") is None:
            found["properties"][name] = {**_or_null(member), "default": None}
    if "properties" in found:
        # With its default, each member may still be left out.
        found["required"] = list(found["properties"])
    return found


def _sent(schema: Schema) -> Schema:
    found = _loosened(schema, time=_ANY_TIME)
    for member in found.get("properties", {}).values():
        member.pop("default", None)
    return found


def _loosened(schema: Any, *, time: Schema) -> dict[str, Any]:
    if str(schema.get("$ref", "")).endswith("/ProblemDocument"):
        # It becomes an exception, which takes all of its members.
        return {"type": "object", "additionalProperties": True}
    if schema.get("format") == "date-time":
        return {**{k: v for k, v in schema.items() if k == "description"}, **time}
    found: dict[str, Any] = {}
    for word, value in schema.items():
        if word == "properties":
            found[word] = {name: _loosened(each, time=time) for name, each in value.items()}
        elif word in {"anyOf", "oneOf", "allOf"}:
            found[word] = [_loosened(each, time=time) for each in value]
        elif word == "items" or (word == "additionalProperties" and isinstance(value, Mapping)):
            found[word] = _loosened(value, time=time)
        elif word not in _LEFT_OUT and word != "format":
            found[word] = value
    return found


def _or_null(schema: Schema) -> Schema:
    if _NULL in schema.get("anyOf", ()):
        return schema
    kept = {word: value for word, value in schema.items() if word in {"description", "default"}}
    inner = {word: value for word, value in schema.items() if word not in kept}
    return {**kept, "anyOf": [inner, _NULL]}
