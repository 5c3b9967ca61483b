"""Operators' tokens, `fo_<id>_<secret>`: as API keys, with a prefix of their own."""

from freehold.security.api_keys import ApiKey, new_api_key, parse_api_key

_PREFIX = "fo"
_PREFIX_OF_KEYS = "fh"


def new_operator_token() -> ApiKey:
    """Make a new random token."""
    return new_api_key()


def operator_token_text(token: ApiKey) -> str:
    """Write a token as its bearer sends it."""
    return _PREFIX + token.text().removeprefix(_PREFIX_OF_KEYS)


def parse_operator_token(text: str) -> ApiKey | None:
    """Read a token; None where the text does not have a token's form."""
    if not text.startswith(f"{_PREFIX}_"):
        return None
    return parse_api_key(_PREFIX_OF_KEYS + text.removeprefix(_PREFIX))
