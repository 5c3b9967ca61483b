"""Signed tokens: JSON Web Tokens (RFC 7519), signed with HS256 by a key that only services have."""

from collections.abc import Collection, Mapping
from typing import Any

import jwt

from freehold.security.key_ring import KeyRing

_ALGORITHM = "HS256"


class SignedTokens:
    """Signs and reads the tokens of one purpose, which has keys of its own."""

    def __init__(
        self,
        key_ring: KeyRing,
        purpose: str,
        *,
        issuer: str,
        audience: str,
        claims: Collection[str],
    ) -> None:
        """Derive the keys.

        Args:
            key_ring: The keys that they are derived from.
            purpose: What the tokens are for.
            issuer: Who makes them.
            audience: Who takes them.
            claims: What each must say beside this and its end.
        """
        self._keys = key_ring.derived(purpose)
        self._key_id = key_ring.sealing_key_id
        self._issuer = issuer
        self._audience = audience
        self._required = ["iss", "aud", "exp", *claims]

    def sign(self, claims: Mapping[str, Any], *, expires_at: int) -> str:
        """Write a token, which is valid until a time in seconds since 1970."""
        return jwt.encode(
            {"iss": self._issuer, "aud": self._audience, "exp": expires_at, **claims},
            self._keys[self._key_id],
            algorithm=_ALGORITHM,
            headers={"kid": self._key_id},
        )

    def read(self, text: str) -> Mapping[str, Any] | None:
        """Read what a token says; None if no service signed it, or it has expired."""
        try:
            claims: dict[str, Any] = jwt.decode(
                text,
                self._keys[jwt.get_unverified_header(text)["kid"]],
                algorithms=[_ALGORITHM],
                audience=self._audience,
                issuer=self._issuer,
                options={"require": self._required},
            )
        except (jwt.InvalidTokenError, KeyError):
            return None
        return claims
