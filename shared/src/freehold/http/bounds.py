"""Bounds on the structure of a JSON body, checked before it is parsed.

A parser keeps each value and a model each fault, in up to a hundred times the bytes that were sent.
So a body with many values is parsed only if its structure is one that some body here may have. The
check needs no memory, and less time than parsing.
"""

import re
from collections.abc import Iterator

import msgspec

from freehold.http.errors import malformed_json
from freehold.http.members import Location

OBJECT_MEMBERS_MAX = 64
LIST_ITEMS_MAX = 20_000
"""A model may allow fewer. It names its own limit for a list that is a little longer."""

# A single event has a tenth of this. Bodies with fewer values are parsed whatever they are.
_VALUES_UNSEEN_MAX = 1_000

# What has matched is never tried in another way (`++`, `*+`), so time and memory are flat. Commas
# may be missing: whether they are where they should be is the parser's to say.
_SPACE = r"[ \t\r\n]*+"
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SCALAR = rf'(?:{_STRING}|[^ \t\r\n",:\[\]{{}}]++)'
_COMMA = rf"{_SPACE},?+{_SPACE}"


def _object(value: str) -> str:
    member = rf"{_STRING}{_SPACE}:{_SPACE}(?:{value}){_COMMA}"
    return rf"\{{{_SPACE}(?:{member}){{0,{OBJECT_MEMBERS_MAX}}}+\}}"


_FLAT = rf"{_SCALAR}|{_object(_SCALAR)}"
_ITEM = rf"{_SCALAR}|{_object(_FLAT)}"
_LIST = rf"\[{_SPACE}(?:(?:{_ITEM}){_COMMA}){{0,{LIST_ITEMS_MAX}}}+\]"
_VALUE = rf"{_ITEM}|{_LIST}"
_BODY = re.compile(rf"{_SPACE}{_object(_VALUE)}{_SPACE}".encode(), re.DOTALL)

_OPENING = re.compile(rf"{_SPACE}([\[{{]){_SPACE}".encode())
_NAME = re.compile(rf"({_STRING}){_SPACE}:{_SPACE}".encode(), re.DOTALL)
_PARTS = {
    part: re.compile(rf"(?:{value}){_COMMA}".encode(), re.DOTALL)
    for part, value in {"value": _VALUE, "item": _ITEM, "flat": _FLAT, "scalar": _SCALAR}.items()
}
# What may be in an object or a list, by what it is itself.
_INNER = {
    ("body", b"{"): "value",
    ("value", b"["): "item",
    ("value", b"{"): "flat",
    ("item", b"{"): "flat",
    ("flat", b"{"): "scalar",
}


def excess(body: bytes) -> tuple[Location, str] | None:
    """Name the bounds that a body goes over, if any, and the location of what goes over them.

    Raises:
        MalformedJson: The body is large, and no JSON.
    """
    if len(body) <= _VALUES_UNSEEN_MAX:
        return None
    values = body.count(b",") + body.count(b"[") + body.count(b"{")
    if values <= _VALUES_UNSEEN_MAX or _BODY.fullmatch(body):
        return None
    try:
        # Reads over all values and keeps none.
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise malformed_json(str(error).removeprefix("JSON is malformed: ")) from None
    return tuple(_location(body, 0, "body")), (
        f"has more than {OBJECT_MEMBERS_MAX} members in an object, more than {LIST_ITEMS_MAX} items"
        " in a list, or lists and objects deeper inside each other than any body here"
    )


def _location(body: bytes, at: int, outer: str) -> Iterator[int | str]:
    """Follow what goes over the bounds from the object or list that begins at a byte inwards."""
    opening = _OPENING.match(body, at)
    inner = opening and _INNER.get((outer, opening[1]))
    if opening is None or inner is None:
        return
    in_list = opening[1] == b"["
    at = opening.end()
    for number in range(LIST_ITEMS_MAX if in_list else OBJECT_MEMBERS_MAX):
        step: int | str = number
        if not in_list:
            name = _NAME.match(body, at)
            if name is None:
                return
            step, at = name[1][1:-1].decode(errors="replace"), name.end()
        part = _PARTS[inner].match(body, at)
        if part is None:
            yield step
            yield from _location(body, at, inner)
            return
        at = part.end()
