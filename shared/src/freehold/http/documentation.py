"""The page at /docs: /openapi.json for people."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from freehold.http.pages import document_of, prose, table, words

_SAFE_INTEGER_MAX = 2**53 - 1
_METHODS = ("get", "post", "put", "patch", "delete")


def page(document: Mapping[str, Any]) -> str:
    """Write an OpenAPI document as a page of HTML."""
    info = document["info"]
    schemas = document.get("components", {}).get("schemas", {})
    return document_of(
        info["title"],
        prose(info.get("description", "")),
        '<p>The same for programs: <a href="openapi.json">openapi.json</a>. Credentials are sent as'
        " <code>Authorization: Bearer …</code>, but where it says that none is needed. What each"
        ' problem means: <a href="problems">problems</a>.</p>',
        *(_group(tag, document) for tag in document["tags"]),
        "<h2>Documents</h2>",
        *(_schema(name, schemas[name]) for name in sorted(schemas)),
    )


def _group(tag: Mapping[str, str], document: Mapping[str, Any]) -> str:
    name = tag["name"]
    return "".join(
        [
            f"<h2>{escape(name[0].upper() + name[1:])}</h2>{prose(tag['description'])}",
            *(
                _operation(method, path, item[method], document["components"]["responses"])
                for path, item in document["paths"].items()
                for method in _METHODS
                if method in item and name in item[method]["tags"]
            ),
        ]
    )


def _operation(
    method: str, path: str, operation: Mapping[str, Any], responses: Mapping[str, Any]
) -> str:
    """Write an operation; `responses` are those of the document that others refer to."""
    credential = " No credential is needed." if operation.get("security") == [] else ""
    answers = [
        [
            escape(status),
            prose(answer.get("description", "")),
            _contents(answer.get("content", {})),
            "<br>".join(f"<code>{escape(name)}</code>" for name in answer.get("headers", {})),
        ]
        for status, named in operation["responses"].items()
        for answer in [responses[_name(named)] if "$ref" in named else named]
    ]
    taken = [
        [
            f"<code>{escape(parameter['name'])}</code>",
            escape(parameter["in"]) + (", required" if parameter.get("required") else ""),
            _type(parameter.get("schema", {})),
            prose(parameter.get("description", "")),
        ]
        for parameter in operation.get("parameters", [])
    ]
    body = operation.get("requestBody", {})
    return "".join(
        [
            f"<h3><code>{method.upper()} {escape(path)}</code></h3>",
            f"<p>{words(operation.get('summary', ''))}{credential}</p>",
            prose(operation.get("description", "")),
            table(("parameter", "where", "type", ""), taken),
            f"<p>Body: {_contents(body['content'])}</p>" if body else "",
            table(("answer", "", "body", "headers"), answers),
        ]
    )


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", [])
    members = [
        [
            f"<code>{escape(member)}</code>",
            "required" if member in required else "",
            _type(rule),
            prose(rule.get("description", "")),
        ]
        for member, rule in schema.get("properties", {}).items()
    ]
    examples = (
        f"<pre>{escape(json.dumps(example, indent=2, ensure_ascii=False))}</pre>"
        for example in schema.get("examples", [])
    )
    head = f'<h3 id="{escape(name)}">{escape(name)}</h3>{prose(schema.get("description", ""))}'
    kind = "" if "properties" in schema else f"<p>{_type(schema)}</p>"
    return head + kind + table(("member", "", "type", ""), members) + "".join(examples)


def _contents(contents: Mapping[str, Any]) -> str:
    return "<br>".join(
        f"{_type(content.get('schema', {}))} as <code>{escape(media_type)}</code>"
        for media_type, content in contents.items()
    )


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(_name(schema))
        return f'<a href="#{name}">{name}</a>'
    if "contentSchema" in schema:
        return f"stream, each {_type(schema['contentSchema']['items'])}"
    for choices in ("anyOf", "oneOf"):
        if choices in schema:
            return " or ".join(map(_type, schema[choices]))
    words = [escape(str(schema.get("type", "any")))]
    if "items" in schema:
        words.append(f"of {_type(schema['items'])}")
    words += [f"<code>{escape(str(value))}</code>" for value in schema.get("enum", [])]
    words += [f"{escape(rule)} <code>{escape(str(schema[rule]))}</code>" for rule in _rules(schema)]
    return " ".join(words)


def _rules(schema: Mapping[str, Any]) -> Iterator[str]:
    shown = {"type", "items", "enum", "title", "description", "properties", "additionalProperties"}
    return (rule for rule, value in schema.items() if rule not in shown and _is_plain(value))


def _is_plain(value: Any) -> bool:
    # A bound beyond these is that of the format or of the ledger's sums: it tells a person nothing.
    return isinstance(value, str | float) or (
        isinstance(value, int) and abs(value) <= _SAFE_INTEGER_MAX
    )


def _name(reference: Mapping[str, Any]) -> str:
    name: str = reference["$ref"].rpartition("/")[2]
    return name
