"""The page at /docs: /openapi.json for people.

It has no script, loads nothing from other servers, and has no field for a credential.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from html import escape
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
code, pre { font: 14px/1.4 ui-monospace, monospace; }
pre { background: #f4f4f4; overflow-x: auto; padding: .75rem; }
table { border-collapse: collapse; width: 100%; }
td, th { border-top: 1px solid #ccc; padding: .3rem .6rem .3rem 0; text-align: left;
  vertical-align: top; }
h3 { border-top: 2px solid #444; margin-top: 2.5rem; padding-top: .5rem; }
"""
_STYLE_HASH = base64.b64encode(sha256(_STYLE.encode()).digest()).decode()
PAGE_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
_CODE = re.compile("`([^`]+)`")
_METHODS = ("get", "post", "put", "patch", "delete")


def page(document: Mapping[str, Any]) -> str:
    """Write an OpenAPI document as a page of HTML."""
    info = document["info"]
    schemas = document.get("components", {}).get("schemas", {})
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(info['title'])}</h1>{_prose(info.get('description', ''))}",
            '<p>The same for programs: <a href="openapi.json">openapi.json</a>. Credentials are',
            " sent as <code>Authorization: Bearer …</code>, but where it says that none is",
            " needed.</p><h2>Requests</h2>",
            *(
                _operation(method, path, item[method])
                for path, item in document["paths"].items()
                for method in _METHODS
                if method in item
            ),
            "<h2>Documents</h2>",
            *(_schema(name, schemas[name]) for name in sorted(schemas)),
            "</body></html>",
        ]
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    credential = " No credential is needed." if operation.get("security") == [] else ""
    answers = [
        [
            escape(status),
            _prose(answer.get("description", "")),
            _contents(answer.get("content", {})),
            "<br>".join(f"<code>{escape(name)}</code>" for name in answer.get("headers", {})),
        ]
        for status, answer in operation.get("responses", {}).items()
    ]
    taken = [
        [
            f"<code>{escape(parameter['name'])}</code>",
            escape(parameter["in"]) + (", required" if parameter.get("required") else ""),
            _type(parameter.get("schema", {})),
            _prose(parameter.get("description", "")),
        ]
        for parameter in operation.get("parameters", [])
    ]
    body = operation.get("requestBody", {})
    return "".join(
        [
            f"<h3><code>{method.upper()} {escape(path)}</code></h3>",
            f"<p>{_words(operation.get('summary', ''))}{credential}</p>",
            _prose(operation.get("description", "")),
            _table(("parameter", "where", "type", ""), taken),
            f"<p>Body: {_contents(body['content'])}</p>" if body else "",
            _table(("answer", "", "body", "headers"), answers),
        ]
    )


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", [])
    members = [
        [
            f"<code>{escape(member)}</code>",
            "required" if member in required else "",
            _type(rule),
            _prose(rule.get("description", "")),
        ]
        for member, rule in schema.get("properties", {}).items()
    ]
    examples = (
        f"<pre>{escape(json.dumps(example, indent=2, ensure_ascii=False))}</pre>"
        for example in schema.get("examples", [])
    )
    head = f'<h3 id="{escape(name)}">{escape(name)}</h3>{_prose(schema.get("description", ""))}'
    return head + _table(("member", "", "type", ""), members) + "".join(examples)


def _contents(contents: Mapping[str, Any]) -> str:
    return "<br>".join(
        f"{_type(content.get('schema', {}))} as <code>{escape(media_type)}</code>"
        for media_type, content in contents.items()
    )


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
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
    return isinstance(value, str | int | float)


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
    if not lines:
        return ""
    head = "".join(f"<th>{head}</th>" for head in heads)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _prose(text: str) -> str:
    return "".join(f"<p>{_words(part)}</p>" for part in text.split("\n\n") if part.strip())


def _words(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", escape(text))
