"""Routes, calls and methods: a few lines for each operation of the document."""

import json
import keyword
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from freehold_client_generator.document import HEADER, Document, Operation, Schema, referred

# Their methods do more than to send a call and to read its answer.
_WRITTEN_BY_HAND = frozenset({"import_events", "stream_balances"})
_DOWNLOADS = frozenset({"export_ledger", "export_own_ledger"})
# The pages are followed, and metadata has an argument of its own; the others are for those who do
# without this client.
_UNSEEN = frozenset({"cursor", "metadata", "Idempotency-Key", "Last-Event-ID"})
_NAMES = {"limit": "page_size"}
_TYPES = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_PAGE = {"data", "next_cursor"}
_WIDTH = 100
_OF_EVERY_GET = "`HEAD` gives the headers alone."

_CALLS = f"""{HEADER}

from collections.abc import Mapping, Sequence
from typing import Literal

from freehold_client.calls import Call, Time, given, new_call
from freehold_client.generated import models, nested
from freehold_client.generated.routes import ROUTES
"""


@dataclass(frozen=True)
class Argument:
    """An argument of a call, and where it goes in the request."""

    sent: str
    """Its name in the request."""
    schema: Schema
    is_required: bool
    text: str = ""

    @property
    def name(self) -> str:
        """Its name in Python."""
        name = _NAMES.get(self.sent, self.sent.lower())
        return f"{name}_" if keyword.iskeyword(name) else name

    def declared(self, document: Document) -> str:
        """Declare it in a signature."""
        wanted = annotation(self.schema, document)
        if self.is_required:
            return f"{self.name}: {wanted}"
        return f"{self.name}: {wanted.removesuffix(' | None')} | None = None"


class Description:
    """What is generated for one operation.

    Args:
        operation: The operation.
        document: The document, which the operation refers to.
    """

    def __init__(self, operation: Operation, document: Document) -> None:
        self.operation = operation
        self._document = document
        self._ids = [_argument(one) for one in operation.parameters("path")]
        self._query = [
            _argument(one) for one in operation.parameters("query") if one["name"] not in _UNSEEN
        ]
        self._headers = [
            _argument(one)
            for one in operation.parameters("header")
            # Integers are exact here, so amounts need not be strings.
            if one["name"] not in _UNSEEN and "return=minimal" in json.dumps(one)
        ]
        body = document.resolved(operation.body)
        required = body.get("required", ())
        self._body = [
            Argument(name, schema, name in required, schema.get("description", ""))
            for name, schema in body.get("properties", {}).items()
        ]

    @property
    def route(self) -> str:
        """The entry in the table of routes."""
        one = self.operation
        facts = [f"Service.{one.service.upper()}", repr(one.method), repr(one.path)]
        facts += ["has_key=True"] * one.has_key + ["is_operators=True"] * one.is_operators
        return f"    {one.name!r}: Route({', '.join(facts)}),"

    @property
    def call(self) -> str:
        """The function that describes the call."""
        operation = self.operation
        answer = "None" if operation.answer is None else f"models.{operation.answer}"
        sent = [f"ROUTES[{operation.name!r}]", answer]
        if self._ids:
            sent.append(f"({''.join(f'{each.name}, ' for each in self._ids)})")
        if self._query:
            sent.append(f"params={self._written(self._query)}")
        if self._body:
            sent.append(f"body={self._written(self._body)}")
        if self._headers:
            names = ", ".join(f"{each.sent!r}: {each.name}" for each in self._headers)
            sent.append(f"headers={{{names}}}")
        if operation.has_key:
            sent.append("idempotency_key=idempotency_key")
        return "\n".join(
            [
                f"def {operation.name}({', '.join(self._signature())}) -> Call[{answer}]:",
                *self._docstring(),
                f"    return new_call({', '.join(sent)})",
            ]
        )

    @property
    def method(self) -> str | None:
        """The method of both clients; None where it is written by hand."""
        name = self.operation.name
        if name in _DOWNLOADS:
            return None
        return f"    {name} = {self._kind()}(calls.{name})"

    def _kind(self) -> str:
        answer = self.operation.answer
        members = set(self._document.schemas[answer]["properties"]) if answer else set()
        if not members >= _PAGE:
            return "called"
        return "paged" if members == _PAGE else "whole"

    def _signature(self) -> Iterator[str]:
        yield from (each.declared(self._document) for each in self._ids)
        others = [*self._query, *self._body, *self._headers]
        if others or self.operation.has_key:
            yield "*"
        for each in sorted(others, key=lambda each: not each.is_required):
            yield each.declared(self._document)
        if self._takes_metadata:
            yield "metadata: Mapping[str, str] | None = None"
        if self.operation.has_key:
            yield "idempotency_key: str | None = None"

    @property
    def _takes_metadata(self) -> bool:
        """Whether it takes parameters by the names of metadata keys, which the caller declares."""
        return self.operation.name == "list_events"

    def _written(self, arguments: list[Argument]) -> str:
        """Write the object that has the arguments under their names in the request."""
        always = [f"{each.sent!r}: {each.name}" for each in arguments if each.is_required]
        perhaps = [f"{each.sent!r}: {each.name}" for each in arguments if not each.is_required]
        parts = list(always)
        if perhaps:
            parts.append(f"**given({{{', '.join(perhaps)}}})")
        if arguments is self._query and self._takes_metadata:
            parts.append("**{f'metadata.{key}': value for key, value in (metadata or {}).items()}")
        return f"{{{', '.join(parts)}}}"

    def _docstring(self) -> Iterator[str]:
        schema = self.operation.schema
        summary = schema["summary"].rstrip(".") + "."
        texts = [_plain(summary)]
        description = schema.get("description", "").replace(_OF_EVERY_GET, "").strip()
        if description:
            texts.append(_plain(description))
        lines = "\n\n".join(texts).splitlines()
        described = [*self._ids, *self._query, *self._body, *self._headers]
        told = [each for each in described if each.text]
        if told:
            lines += ["", "Args:"]
            for each in told:
                text = f"{each.name}: {_plain(each.text)}"
                lines += textwrap.wrap(
                    text, _WIDTH - 4, initial_indent="    ", subsequent_indent="        "
                )
        yield f'    """{lines[0]}' + ('"""' if len(lines) == 1 else "")
        if len(lines) > 1:
            yield from (f"    {line}".rstrip() for line in lines[1:])
            yield '    """'


def descriptions(document: Document) -> list[Description]:
    """Give what is generated for all operations, in order of their names."""
    found = [Description(one, document) for one in document.operations]
    return sorted(found, key=lambda one: one.operation.name)


def routes_module(document: Document) -> str:
    """Write the table of routes."""
    return "\n".join(
        [
            HEADER,
            "",
            "from freehold_client.routes import Route, Service",
            "",
            "ROUTES = {",
            *(one.route for one in descriptions(document)),
            "}",
            "",
        ]
    )


def calls_module(document: Document) -> str:
    """Write the functions that describe calls."""
    calls = [
        one.call for one in descriptions(document) if one.operation.name not in _WRITTEN_BY_HAND
    ]
    return "\n\n\n".join([_CALLS.rstrip(), *calls]) + "\n"


def methods_module(document: Document) -> str:
    """Write the class that has the methods of both clients."""
    methods = [
        one.method
        for one in descriptions(document)
        if one.operation.name not in _WRITTEN_BY_HAND and one.method
    ]
    return "\n".join(
        [
            HEADER,
            "",
            "from freehold_client.generated import calls",
            "from freehold_client.methods import called, paged, whole",
            "",
            "",
            "class Operations:",
            *methods,
            "",
        ]
    )


def annotation(schema: Schema, document: Document) -> str:
    """Write the type of an argument."""
    if "$ref" in schema:
        found = document.resolved(schema)
        is_object = "properties" in found
        return f"nested.{referred(schema)}" if is_object else annotation(found, document)
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        return " | ".join(dict.fromkeys(annotation(each, document) for each in alternatives))
    if schema.get("format") == "date-time":
        return "Time"
    return _plain_annotation(schema, document)


def _plain_annotation(schema: Schema, document: Document) -> str:
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return f"Literal[{', '.join(map(repr, values))}]"
    kind = schema.get("type")
    if kind == "array":
        return f"Sequence[{annotation(schema['items'], document)}]"
    if kind == "object":
        inner = schema.get("additionalProperties") or {}
        return f"Mapping[str, {annotation(inner, document)}]"
    kinds = kind if isinstance(kind, list) else [kind]
    return " | ".join(_TYPES.get(str(each), "object") for each in kinds)


def _argument(parameter: Schema) -> Argument:
    return Argument(
        parameter["name"],
        parameter["schema"],
        bool(parameter.get("required")),
        parameter.get("description", ""),
    )


def _plain(text: str) -> str:
    """Write a text as it stands in a docstring."""
    paragraphs = re.split(r"\n\s*\n", text.strip().replace("\\", "\\\\").replace('"""', "'''"))
    return "\n\n".join(textwrap.fill(" ".join(one.split()), _WIDTH - 4) for one in paragraphs)
