"""Members that stand more than once in an object: parsers keep the last of them and report nothing.

What such an object means depends on its reader (RFC 8259, section 4), so it is refused (RFC 7493,
section 2.3).

To look for repeated members takes longer than to parse, and hardly a body has any. So the colons
are counted first. Each member has a colon behind its name's closing quote, so a body with no more
of them than its model has members repeats none.
"""

import json
from collections import Counter
from collections.abc import Sequence
from functools import cache
from itertools import chain
from typing import Any

from pydantic import BaseModel

Location = tuple[int | str, ...]


class _Object(dict[str, Any]):
    """An object as it was written."""

    repeated: str | None = None


def repeated_member(model: BaseModel, body: bytes) -> Location | None:
    """Find a member that stands more than once in its object, and return its location.

    Args:
        model: What the body was read as.
        body: The body.
    """
    members = _members([model])
    if body.count(b":") == members or (
        body.count(b'":') == members
        # Nor does a colon stand apart from its name.
        and b" :" not in body
        and b"\n:" not in body
        and b"\t:" not in body
        and b"\r:" not in body
    ):
        return None
    return _repeated(json.loads(body, object_pairs_hook=_written, parse_int=str, parse_float=str))


def _members(values: Sequence[Any]) -> int:
    """Count the members of all objects in values of one type."""
    if not values:
        return 0
    kind: Any = type(values[0])
    if kind is dict:
        inner = [part for value in values for part in value.values() if type(part) is not str]
        return sum(map(len, values)) + _members(inner)
    if kind is list:
        return _members(list(chain.from_iterable(values)))
    containers = _containers(kind)
    if containers is None:
        return 0
    members = sum([len(value.model_fields_set) for value in values])
    for name in containers:
        members += _members([part for value in values if (part := getattr(value, name))])
    return members


@cache
def _containers(kind: type[object]) -> tuple[str, ...] | None:
    """Name the fields of a model whose values have members or items; None for other types."""
    if not issubclass(kind, BaseModel):
        return None
    fields = kind.model_json_schema()["properties"]
    return tuple(
        name
        for name, schema in fields.items()
        if any(
            "$ref" in choice or choice.get("type") in ("array", "object")
            for choice in schema.get("anyOf", [schema])
        )
    )


def _written(pairs: list[tuple[str, Any]]) -> _Object:
    written = _Object(pairs)
    if len(written) < len(pairs):
        [(written.repeated, _)] = Counter(name for name, _ in pairs).most_common(1)
    return written


def _repeated(document: Any) -> Location | None:
    parts: list[tuple[Location, Any]] = [((), document)]
    while parts:
        location, part = parts.pop()
        if isinstance(part, _Object):
            if part.repeated is not None:
                return (*location, part.repeated)
            parts.extend(((*location, name), inner) for name, inner in part.items())
        elif isinstance(part, list):
            parts.extend(((*location, number), inner) for number, inner in enumerate(part))
    return None
