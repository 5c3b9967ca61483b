"""How a message shows a value: cut, escaped, and never a credential."""

import json
import re
from typing import Any

_CHARACTERS_MAX = 60
_PLAIN = re.compile(r"[\w.:@+/-]+")
# API keys and their secrets, JSON Web Tokens, and whole values of the header Authorization.
_CREDENTIAL = re.compile(r"fh_[0-9a-f]{16}|[0-9A-Fa-f]{40}|eyJ[\w-]{9}|[Bb]earer\s")
_CREDENTIAL_CHARACTERS = 40
"""By so many from its first one a credential is known."""


def excerpt(value: Any, *, quoted: bool = False) -> str:
    """Show a value of a request in a message.

    Args:
        value: As it was parsed.
        quoted: Whether text is always in quotes, so that "2000" does not look like a number.
    """
    if isinstance(value, str):
        return _excerpt_of_text(value, quoted=quoted)
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, int) and value.bit_length() > 200:
        return f"a number of more than {_CHARACTERS_MAX} digits"
    return json.dumps(value, default=str)


def _excerpt_of_text(text: str, *, quoted: bool) -> str:
    if not text and not quoted:
        return "empty"
    # A key may have been pasted with something around it.
    if _CREDENTIAL.search(text, 0, _CHARACTERS_MAX + _CREDENTIAL_CHARACTERS):
        return "what looks like a credential"
    cut = text[:_CHARACTERS_MAX]
    if cut == text and _PLAIN.fullmatch(text) and not quoted:
        return text
    escaped = "".join(map(_escaped, cut))
    return f'"{escaped}"' if cut == text else f'"{escaped}…"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else ascii(character)[1:-1]
