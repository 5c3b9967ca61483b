"""Pydantic's faults in words for people, made of the JSON Schema of what was expected.

The rules of the field types (fields.py) bring their own words: a `ValueError` that begins with
"must" and is put after the field's name.
"""

from collections.abc import Iterable, Mapping, Sequence, Sized
from difflib import get_close_matches
from typing import Any, NamedTuple

from pydantic_core import ErrorDetails

from freehold.contracts.excerpts import excerpt
from freehold.contracts.fields import LOOKS_LIKE

Schema = Mapping[str, Any]

KEY_STEP = "[key]"
"""Ends the location of a key of an object."""
_LENGTHS = frozenset({"string_too_short", "string_too_long", "too_short", "too_long"})
_RANGES = frozenset({"greater_than_equal", "less_than_equal"})
_MEMBER = "member"
_LENGTHS_DIFFER_MAX = 2
_ALIKE_MIN = 0.8
_TYPES: Mapping[str, str] = {
    "number": "a number",
    "string": "text",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}
_FORMATS: Mapping[str, str] = {
    "date-time": "a time with an offset as in RFC 3339, such as 2026-03-01T12:00:00Z",
    "date": "a date, such as 2026-03-01",
    "uuid": "a UUID, such as 019ca9a8-5a00-7000-8000-0007c0a8d5e1",
}
_MISSING = object()
"""Stands for a value that is not there."""


class _Place(NamedTuple):
    """What a fault is about."""

    name: str
    schema: Schema
    value: Any
    owner: Schema
    """The schema of the object that it is, or would be, a member of."""


class Document(NamedTuple):
    """What was read, and what was expected."""

    schema: Schema
    """With references to its own `$defs`."""
    given: Any
    """As it was before pydantic read it."""
    whole: str = "the body"
    """What the document is called as a whole."""
    part: str = _MEMBER
    """What one of its names is called."""

    def in_words(self, fault: ErrorDetails) -> str:
        """Say what is wrong, in a sentence that names the place."""
        place, kind = self._place(fault["loc"]), fault["type"]
        text = fault["msg"].removeprefix("Value error, ")
        if kind == "missing":
            return f"{place.name} is missing"
        if kind == "extra_forbidden":
            return self._unknown(place)
        if kind == "value_error" and not fault["loc"]:
            return text
        # Other errors of Python speak to programmers.
        if kind == "value_error" and text.startswith("must "):
            return f"{place.name} {text}"
        if kind in _LENGTHS:
            return f"{place.name} must have {_size(place.schema)}{_but_had(place.value)}"
        expected = _expected(place, in_range=kind in _RANGES)
        return f"{place.name} must {expected}{self._but_was(place)}"

    def _place(self, location: Iterable[int | str]) -> _Place:
        """Follow a location through the schema and the document at once."""
        schema, value = self._resolved(self.schema), self.given
        owner: Schema = {}
        names: list[str] = []
        for step in location:
            # An object may have a member of that name.
            if step == KEY_STEP and schema.get("type") != "object":
                key = excerpt(names[-1], quoted=True)
                name = f"the key {key} of {_dotted(names[:-1]) or self.whole}"
                return _Place(name, owner.get("propertyNames", {}), names[-1], owner)
            if "properties" in schema:
                # Its members are known by their own names.
                names = []
            names.append(str(step))
            owner = schema
            schema = self._resolved(_part_of(schema, step))
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                value = _MISSING
        return _Place(_dotted(names) or self.whole, schema, value, owner)

    def _resolved(self, schema: Schema) -> Schema:
        """Follow references, and choose what may stand instead of null."""
        while True:
            if "$ref" in schema:
                schema = self.schema["$defs"][schema["$ref"].rpartition("/")[2]]
            elif "anyOf" in schema:
                schema = next(one for one in schema["anyOf"] if one.get("type") != "null")
            else:
                return schema

    def _but_was(self, place: _Place) -> str:
        if place.value is _MISSING:
            return ""
        # In a body "2000" is not 2000; all parameters are text.
        quoted = self.part == _MEMBER and place.schema.get("type") != "string"
        return f", and was {excerpt(place.value, quoted=quoted)}"

    def _unknown(self, place: _Place) -> str:
        known = list(place.owner.get("properties", ()))
        said = f"there is no {self.part} {place.name}"
        if not known:
            return f"{said}: {self.whole} has none"
        if near := _alike(place.name, known):
            return f"{said}: perhaps {near} is meant"
        return f"{said}, only {', '.join(known)}"


def _alike(name: str, known: Sequence[str]) -> str | None:
    """Find the known name for which another may stand: amount, accountId, curency."""
    longer = [one for one in known if one.startswith(name)]
    # Only names of about its length, since to compare names takes long.
    others = [one for one in known if abs(len(one) - len(name)) <= _LENGTHS_DIFFER_MAX]
    return next(iter(longer or get_close_matches(name, others, 1, _ALIKE_MIN)), None)


def _part_of(schema: Schema, step: int | str) -> Schema:
    if isinstance(step, int):
        found = schema.get("items")
    else:
        found = schema.get("properties", {}).get(step) or schema.get("additionalProperties")
    return found if isinstance(found, Mapping) else {}


def _dotted(names: Iterable[str]) -> str:
    return ".".join(excerpt(name, quoted=not name) for name in names)


def _expected(place: _Place, *, in_range: bool) -> str:
    """Say, after "must", what a schema expects."""
    schema, kind = place.schema, place.schema.get("type", "")
    if "pattern" in schema:
        return f"look like {LOOKS_LIKE.get(schema['pattern'], schema['pattern'])}"
    if "const" in schema or "enum" in schema:
        *others, last = map(str, schema.get("enum") or [schema["const"]])
        return f"be {', '.join(others)} or {last}" if others else f"be {last}"
    if kind == "integer":
        return f"be {_integer(place, in_range=in_range)}"
    return f"be {_FORMATS.get(schema.get('format', '')) or _TYPES.get(kind, 'something else')}"


def _integer(place: _Place, *, in_range: bool) -> str:
    least, most = place.schema.get("minimum"), place.schema.get("maximum")
    if not in_range and place.name.endswith("_minor"):
        return "an integer of minor units, such as 2000 for 20.00 USD"
    if least is None and most is None:
        return "an integer"
    bounds = _bounded(least, most, "between {} and {}")
    return bounds if in_range else f"an integer {bounds}"


def _bounded(least: Any, most: Any, both: str) -> str:
    if least is None:
        return f"at most {most}"
    return f"at least {least}" if most is None else both.format(least, most)


def _size(schema: Schema) -> str:
    """Say how many parts a text, a list or an object must have."""
    for part, unit in (("Length", "character"), ("Items", "item"), ("Properties", "member")):
        least, most = schema.get(f"min{part}"), schema.get(f"max{part}")
        if least is not None or most is not None:
            plural = "" if (most or least) == 1 else "s"
            return f"{_bounded(least, most, '{} to {}')} {unit}{plural}"
    return "another length"


def _but_had(value: Any) -> str:
    return f", and had {len(value)}" if isinstance(value, Sized) else ""
