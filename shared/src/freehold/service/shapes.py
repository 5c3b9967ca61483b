"""Bounds what there is to read in a body before it is read: its shape, held against its model's.

A parser keeps each value and a model each fault, at a hundred times the bytes of what was sent. So
many values are not read before it is seen that the model has a place for them. What is looked for
is too much, not what is wrong: that is the model's to say, and what is no JSON is the parser's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from pydantic import BaseModel

Place = tuple[int | str, ...]

# So many values are read unseen; a single event has a tenth of them.
_VALUES_MAX = 1_000
# As many values need about as many bytes, if hardly anything is in them.
_BYTES_UNSEEN_MAX = 4_096
# Members that a model does not know: of a few the model itself says that they are none of its own.
_UNKNOWN_MAX = 10

# Deeper than that the parser goes in no body, and says that it is no JSON.
_LEVELS_MAX = 200

# What has been matched is never tried again in another way (`++`, `*+`): time and memory are flat.
_SPACE = r"[ \t\r\n]*+"
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SCALAR = rf'(?:{_STRING}|[^ \t\r\n",:\[\]{{}}]++)'
_NAME = rf"{_STRING}{_SPACE}:{_SPACE}"
# Not asked for: whether it is there where it should be is the parser's to say.
_COMMA = rf"{_SPACE},?+{_SPACE}"


def _compiled(pattern: str) -> re.Pattern[bytes]:
    return re.compile(pattern.encode(), re.DOTALL)


_MANY = _compiled(rf'(?:(?:[^",\[{{]++|{_STRING})*+[,\[{{]){{{_VALUES_MAX}}}')
_LEADING = _compiled(_SPACE)
_OPENING = _compiled(rf"[\[{{]{_SPACE}")
_DEEP = _compiled(rf"(?:[\[{{]{_SPACE}(?:{_NAME})?+){{{_LEVELS_MAX}}}")
_MEMBER = _compiled(_NAME)
_BETWEEN = _compiled(_COMMA)


class _ExcessError(Exception):
    """Something is too much."""

    def __init__(self, place: Place, detail: str) -> None:
        super().__init__(detail)
        self.place = place
        self.detail = detail


class _NoJSONError(Exception):
    """Something is no JSON."""


def has_many_values(body: bytes) -> bool:
    """Say whether a body has more values than are read unseen."""
    return len(body) > _BYTES_UNSEEN_MAX and _MANY.match(body) is not None


def excess(model: type[BaseModel], body: bytes) -> tuple[Place, str] | None:
    """Find the first object or list that is more than its model has a place for, and say so."""
    if not has_many_values(body):
        return None
    try:
        _skip(body, _end(_LEADING, body, 0), _shape_of(model), ())
    except _ExcessError as error:
        return error.place, error.detail
    except _NoJSONError:
        pass
    return None


@dataclass(frozen=True)
class _Shape:
    """What a model has a place for beside a scalar: an object, a list, or neither."""

    opening: str = ""
    parts_max: int | None = None
    members: Mapping[str, "_Shape"] = field(default_factory=dict)
    others: "_Shape | None" = None
    """The shape of members that are not among these, and of a list's items."""

    @cached_property
    def pattern(self) -> re.Pattern[bytes]:
        """What fits; the names of members are not looked at."""
        return _compiled(self.text)

    @cached_property
    def text(self) -> str:
        """The regular expression of the pattern."""
        if not self.opening:
            return _SCALAR
        shapes = [*self.members.values(), *([self.others] if self.others else [])]
        values = "|".join(dict.fromkeys([_SCALAR, *(shape.text for shape in shapes)]))
        name, closing = (_NAME, r"\}") if self.opening == "{" else ("", r"\]")
        times = "*" if self.parts_max is None else f"{{0,{self.parts_max}}}"
        parts = rf"(?:{name}(?:{values}){_COMMA}){times}+"
        return rf"(?:{_SCALAR}|\{self.opening}{_SPACE}{parts}{closing})"


_NEITHER = _Shape()
_NOT_MEANT = {
    "": "must be neither a list nor an object",
    "[": "must not be a list",
    "{": "must not be an object",
}


@cache
def _shape_of(model: type[BaseModel]) -> _Shape:
    schema = model.model_json_schema()
    return _shape(schema, schema.get("$defs", {}))


def _shape(schema: dict[str, Any], definitions: dict[str, Any]) -> _Shape:
    """Take a shape out of a JSON schema; none of ours holds itself."""
    for choice in schema.get("anyOf", [schema]):
        if "$ref" in choice:
            return _shape(definitions[choice["$ref"].rpartition("/")[2]], definitions)
        if choice.get("type") == "array":
            items = _shape(choice["items"], definitions)
            return _Shape("[", choice.get("maxItems"), others=items)
        if choice.get("type") == "object":
            members = {
                name: _shape(member, definitions)
                for name, member in choice.get("properties", {}).items()
            }
            if others := choice.get("additionalProperties"):
                most = choice.get("maxProperties")
                return _Shape("{", most, members, _shape(others, definitions))
            return _Shape("{", len(members) + _UNKNOWN_MAX, members)
    return _NEITHER


def _skip(body: bytes, at: int, shape: _Shape, place: Place) -> int:
    """Say where a value ends.

    Raises:
        _ExcessError: It is too much, or something in it is.
        _NoJSONError: It is no JSON, as far as was looked.
    """
    if found := shape.pattern.match(body, at):
        return found.end()
    # Only now part by part: one of them does not fit, or there are too many.
    opening = _char(body, at)
    if opening not in _NOT_MEANT or _DEEP.match(body, at):
        raise _NoJSONError
    if opening != shape.opening:
        raise _ExcessError(place, _NOT_MEANT[opening if shape.opening else ""])
    at = _end(_OPENING, body, at)
    parts = 0
    while (next_char := _char(body, at)) not in ("]", "}"):
        if not next_char:
            raise _NoJSONError
        if parts == shape.parts_max:
            what = "items" if opening == "[" else "members"
            raise _ExcessError(place, f"has more than {parts} {what}")
        if opening == "[":
            at = _skip(body, at, shape.others or _NEITHER, (*place, parts))
        else:
            behind = _end(_MEMBER, body, at)
            name = body[at:behind].rstrip(b" \t\r\n:")[1:-1].decode(errors="replace")
            inside = shape.members.get(name) or shape.others or _NEITHER
            at = _skip(body, behind, inside, (*place, name))
        at = _end(_BETWEEN, body, at)
        parts += 1
    return at + 1


def _char(body: bytes, at: int) -> str:
    return body[at : at + 1].decode("latin-1")


def _end(pattern: re.Pattern[bytes], body: bytes, at: int) -> int:
    found = pattern.match(body, at)
    if found is None:
        raise _NoJSONError
    return found.end()
