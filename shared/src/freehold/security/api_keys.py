"""API keys, `fh_<key id>_<secret>`, of which only a hash is stored.

The secret has 256 random bits, so a plain SHA-256 is enough: a slow password hash is for secrets
that can be guessed.
"""

import hmac
import re
import secrets
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple

_FORM = re.compile(r"fh_([0-9a-f]{16})_([0-9a-f]{64})", re.ASCII)


class Scope(StrEnum):
    """What a key may be used for."""

    INGEST = "ingest"
    READ = "read"
    AUDIT = "audit"
    EXPORT = "export"


class ApiKey(NamedTuple):
    """The two parts of a key: its public id and its secret."""

    key_id: str
    secret: str

    def text(self) -> str:
        """Write the key as its bearer sends it."""
        return f"fh_{self.key_id}_{self.secret}"

    def secret_hash(self) -> bytes:
        """Give the hash that is stored."""
        return sha256(self.secret.encode()).digest()


def new_api_key() -> ApiKey:
    """Make a new random key."""
    return ApiKey(secrets.token_hex(8), secrets.token_hex(32))


def parse_api_key(text: str) -> ApiKey | None:
    """Read a key; None where the text does not have a key's form."""
    match = _FORM.fullmatch(text)
    return ApiKey(match[1], match[2]) if match else None


def same_secret(key: ApiKey, secret_hash: bytes) -> bool:
    """Compare a key's secret with a stored hash, in constant time."""
    return hmac.compare_digest(key.secret_hash(), secret_hash)
