"""Sealing of database passwords at rest: AES-256-GCM (NIST SP 800-38D), with named keys.

A sealed password is bound to its role: copied to another row, it does not open. Several keys may be
known at once, so that a key can be replaced: the first seals, and all open.
"""

import base64
import binascii
import os
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE_BYTES = 12
_KEY_BYTES = 32


class SealingError(Exception):
    """A sealed value does not open: its key is unknown, or it was altered."""


class Sealed(NamedTuple):
    """A sealed value and the id of the key that opens it."""

    key_id: str
    box: bytes


class KeyRing:
    """The sealing keys known to a process."""

    def __init__(self, text: str) -> None:
        """Read keys written as `id:base64[,id:base64…]`, the one that seals first.

        Raises:
            ValueError: The text has another form, or a key is not 256 bits long.
        """
        self._secrets: dict[str, bytes] = {}
        for entry in text.split(","):
            key_id, colon, encoded = entry.strip().partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                key = b""
            if not colon or not key_id or len(key) != _KEY_BYTES:
                raise ValueError("sealing keys are written id:base64 of 32 bytes, comma-separated")
            self._secrets[key_id] = key
        self._keys = {key_id: AESGCM(key) for key_id, key in self._secrets.items()}
        self._sealing_key_id = next(iter(self._keys))

    @property
    def sealing_key_id(self) -> str:
        """The id of the key that seals."""
        return self._sealing_key_id

    def derived(self, purpose: str) -> dict[str, bytes]:
        """Derive keys of 256 bits for another purpose, by the ids of these keys (RFC 5869)."""
        return {
            key_id: HKDF(SHA256(), _KEY_BYTES, salt=None, info=purpose.encode()).derive(secret)
            for key_id, secret in self._secrets.items()
        }

    def seal(self, secret: str, bound_to: str) -> Sealed:
        """Seal a secret, bound to the name of what it is for."""
        nonce = os.urandom(_NONCE_BYTES)
        cipher = self._keys[self._sealing_key_id]
        box = nonce + cipher.encrypt(nonce, secret.encode(), bound_to.encode())
        return Sealed(self._sealing_key_id, box)

    def open(self, sealed: Sealed, bound_to: str) -> str:
        """Open a sealed secret.

        Raises:
            SealingError: The key is not known, or the value was not sealed for this name.
        """
        cipher = self._keys.get(sealed.key_id)
        if cipher is None:
            raise SealingError(f"the sealing key {sealed.key_id!r} is not known here")
        nonce, ciphertext = sealed.box[:_NONCE_BYTES], sealed.box[_NONCE_BYTES:]
        try:
            return cipher.decrypt(nonce, ciphertext, bound_to.encode()).decode()
        except InvalidTag:
            raise SealingError(f"the sealed value for {bound_to} does not open") from None
