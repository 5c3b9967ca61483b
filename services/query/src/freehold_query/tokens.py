"""Read tokens: each sees the accounts with a prefix.

A token names the API key that it was made with, which is looked up whenever the token is used. So
it ends with its key. It holds nothing secret, and cannot be changed.
"""

import time
from collections import OrderedDict
from datetime import UTC, datetime
from hashlib import sha256
from typing import NamedTuple

from freehold.security.key_ring import KeyRing
from freehold.security.signed_tokens import SignedTokens

_PARTY = "freehold-query"
"""Who makes the tokens, and who takes them."""
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
        self._tokens = SignedTokens(
            key_ring,
            "freehold read tokens",
            issuer=_PARTY,
            audience=_PARTY,
            claims=("sub", "key", "accounts"),
        )
        # What tokens say whose signature was checked, by their digest.
        self._known: OrderedDict[bytes, ReadToken] = OrderedDict()

    def sign(self, token: ReadToken) -> str:
        """Write a token."""
        claims = {"sub": token.tenant_id, "key": token.key_id, "accounts": token.account_prefix}
        return self._tokens.sign(claims, expires_at=token.expires_at)

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
        claims = self._tokens.read(text)
        if claims is None:
            return None
        return ReadToken(claims["sub"], claims["key"], claims["accounts"], claims["exp"])


def instant(expires_at: int) -> datetime:
    """Give the time at which a token expires."""
    return datetime.fromtimestamp(expires_at, UTC)
