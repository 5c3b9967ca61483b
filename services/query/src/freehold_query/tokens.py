"""Read tokens: JSON Web Tokens (RFC 7519), signed with HS256 by a key that only services have.

A token names the API key that it was made with, which is looked up whenever the token is used. So
it ends with its key. It holds nothing secret, and cannot be changed.
"""

import time
from collections import OrderedDict
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

import jwt

from freehold.security.key_ring import KeyRing

_PURPOSE = "freehold read tokens"
_ALGORITHM = "HS256"
_PARTY = "freehold-query"
"""Who makes the tokens, and who takes them."""
_CLAIMS = ("iss", "aud", "sub", "exp", "key", "accounts")
_KNOWN_MAX = 50_000


class ReadToken(NamedTuple):
    """What a token says."""

    tenant_id: str
    key_id: str
    """The API key that it was made with."""
    account_prefix: str
    expires_at: int
    """In seconds since 1970."""


class ReadTokens:
    """Signs read tokens, and reads them."""

    def __init__(self, key_ring: KeyRing) -> None:
        self._keys = key_ring.derived(_PURPOSE)
        self._signing_key_id = key_ring.sealing_key_id
        # What tokens say whose signature was checked, by their digest.
        self._known: OrderedDict[bytes, ReadToken] = OrderedDict()

    def sign(self, token: ReadToken) -> str:
        """Write a token."""
        claims = {
            "iss": _PARTY,
            "aud": _PARTY,
            "sub": token.tenant_id,
            "exp": token.expires_at,
            "key": token.key_id,
            "accounts": token.account_prefix,
        }
        key = self._keys[self._signing_key_id]
        return jwt.encode(claims, key, algorithm=_ALGORITHM, headers={"kid": self._signing_key_id})

    def read(self, text: str) -> ReadToken | None:
        """Read a token; None if no service signed it, or it has expired."""
        digest = sha256(text.encode()).digest()
        token = self._known.get(digest)
        if token is None:
            token = self._verified(text)
            if token is None:
                return None
            self._known[digest] = token
            if len(self._known) > _KNOWN_MAX:
                self._known.popitem(last=False)
        return token if token.expires_at > time.time() else None

    def _verified(self, text: str) -> ReadToken | None:
        try:
            key = self._keys[jwt.get_unverified_header(text)["kid"]]
            claims = jwt.decode(
                text,
                key,
                algorithms=[_ALGORITHM],
                audience=_PARTY,
                issuer=_PARTY,
                options={"require": list(_CLAIMS)},
            )
        except (jwt.InvalidTokenError, KeyError):
            return None
        return ReadToken(claims["sub"], claims["key"], claims["accounts"], claims["exp"])


def instant(expires_at: int) -> datetime:
    """Give the time at which a token expires."""
    return datetime.fromtimestamp(expires_at, UTC)
