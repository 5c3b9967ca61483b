"""Sealing of database passwords at rest: AES-256-GCM (NIST SP 800-38D), with named keys.

A sealed password is bound to the role it belongs to, so that one copied to another row does not
open. Several keys may be known at once: the first seals, all open, and so a key can be replaced.
"""

import base64
import binascii
import os
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE_BYTES = 12
_KEY_BYTES = 32


class SealingError(Exception):
    """A sealed value does not open: unknown key, or not what was sealed."""


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
        self._keys: dict[str, AESGCM] = {}
        for entry in text.split(","):
            key_id, colon, encoded = entry.strip().partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except binascii.Error:
                key = b""
            if not colon or not key_id or len(key) != _KEY_BYTES:
                raise ValueError("sealing keys are written id:base64 of 32 bytes, comma-separated")
            self._keys[key_id] = AESGCM(key)
        self._sealing_key_id = next(iter(self._keys))

    @property
    def sealing_key_id(self) -> str:
        """The id of the key that seals."""
        return self._sealing_key_id

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
