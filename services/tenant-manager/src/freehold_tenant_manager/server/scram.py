"""SCRAM-SHA-256 verifiers (RFC 5802, RFC 7677) in the form that Postgres stores.

They are sent instead of passwords, so that no password is in the server's statement log.
"""

import base64
import hmac
import os
from hashlib import pbkdf2_hmac, sha256

# The minimum of RFC 7677.
_ITERATIONS = 4096
_SALT_BYTES = 16


def scram_verifier(password: str, *, iterations: int = _ITERATIONS) -> str:
    """Make a verifier with a fresh salt, as CREATE ROLE … PASSWORD takes it.

    Args:
        password: Printable ASCII, which needs no normalisation.
        iterations: How often it is hashed, here and at each login.
    """
    salt = os.urandom(_SALT_BYTES)
    salted = pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    stored_key = sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return f"SCRAM-SHA-256${iterations}:{_base64(salt)}${_base64(stored_key)}:{_base64(server_key)}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
